"""Estimating noise without truth: near what is known, and honest about its error."""

from __future__ import annotations

import pytest

from pipeline.labels.estimation import estimate


@pytest.fixture
def noisy(make_store, tmp_path):
    """Makes a store in which every n-th row of some classes has the next class's label."""

    def make(every, *, with_truth=True):
        true = [str(row % 12) for row in range(600)]
        labels = [
            str((int(name) + 1) % 12) if int(name) < 3 and (row // 12) % every == 0 else name
            for row, name in enumerate(true)
        ]
        splits = ["train"] * 588 + ["test"] * 12
        known = true if with_truth else None
        name = f"{every}-{with_truth}.zarr"
        return make_store(tmp_path / name, labels, splits, true_labels=known, drawn_for=true)

    return make


def test_right_labels_are_estimated_right_and_known_noise_near_what_it_is(store):
    found = estimate(store)
    assert (found.rows, found.classes, found.known_rate) == (192, 12, None)
    assert found.noise_rate < 0.05
    for trial, injected in zip(found.trials, (0.2, 0.4), strict=True):
        assert trial.injected == pytest.approx(injected, abs=1 / 192)
        assert trial.expected == pytest.approx(injected, abs=0.05)
        assert trial.estimated == pytest.approx(trial.expected, abs=0.1)
        assert 0 < trial.transition_error < 0.5


def test_classes_that_are_mixed_up_are_listed_first(noisy):
    found = estimate(noisy(2))
    first = [(each.right, each.given) for each in found.confusions[:3]]
    assert sorted(first) == [("0", "1"), ("1", "2"), ("2", "3")]
    # Half of their labels are wrong; the centres, which are half wrong too, hide some of it.
    assert all(0.1 < each.share < 0.6 for each in found.confusions[:3])
    assert [each.share for each in found.confusions] == sorted(
        (each.share for each in found.confusions), reverse=True
    )


def test_the_known_rate_is_told_and_used_where_there_are_right_labels(noisy):
    with_truth, without = (estimate(noisy(2, with_truth=known)) for known in (True, False))
    assert with_truth.known_rate == pytest.approx(3 * 25 / 588, abs=0.005)
    assert without.known_rate is None
    assert with_truth.noise_rate == without.noise_rate
    for left, right in zip(with_truth.trials, without.trials, strict=True):
        assert left.estimated == right.estimated
        assert left.expected == pytest.approx(right.expected, abs=0.05)


def test_the_injected_noise_depends_on_the_seed_alone(store):
    assert estimate(store, seed=1) == estimate(store, seed=1)
    assert estimate(store, seed=1).trials != estimate(store, seed=2).trials


def test_progress_is_told_to_the_end(store):
    seen = []
    estimate(store, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_more_classes_than_a_matrix_can_hold_leave_it_out(store, monkeypatch):
    monkeypatch.setattr("pipeline.labels.estimation.MOST_CLASSES", 3)
    found = estimate(store)
    assert found.confusions == []
    assert [trial.transition_error for trial in found.trials] == [None, None]
