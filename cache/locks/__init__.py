"""Who may write into a store: a lock of the system, or a lease where there is none."""
