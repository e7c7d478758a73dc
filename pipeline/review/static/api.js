// Asking the program behind the page. A refusal becomes an error with its one line.

export async function get(path, query = {}) {
  return answer(await ask(`${path}?${new URLSearchParams(query)}`));
}

export async function post(path, body = {}) {
  const headers = { "Content-Type": "application/json" };
  return answer(await ask(path, { method: "POST", headers, body: JSON.stringify(body) }));
}

async function ask(path, options) {
  try {
    return await fetch(path, options);
  } catch {
    throw new Error(
      "dml review has ended. All that was saved is kept: start it again and open its new address.",
    );
  }
}

async function answer(response) {
  const isJson = (response.headers.get("content-type") ?? "").startsWith("application/json");
  const found = isJson ? await response.json() : { error: await response.text() };
  if (!response.ok) throw new Error(found.error || `answer ${response.status}`);
  return found;
}
