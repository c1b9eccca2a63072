// Requests to the server of this page. The API key is kept in this module's memory only.

import { byId } from "./dom.js";

let key = "";
let keyDialog = null;

/** An error response. `status` 0: the server could not be reached. */
export class ApiError extends Error {
  constructor(status, message, retryAfter = null) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/**
 * Call a route: `{json, roundTrip, server, queue}`, times in ms (the server's are null if it sent none). `body` null: GET.
 * A 401 opens the key dialog and retries; throws ApiError, or the AbortError of `signal`.
 */
export async function request(path, body = null, signal = null) {
  for (;;) {
    const used = key;
    try {
      return await send(path, body, signal);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401) throw error;
      if (used === key && !(await keyFromUser(used !== ""))) throw error;
    }
  }
}

async function send(path, body, signal) {
  const headers = { Accept: "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body !== null) headers["Content-Type"] = "application/json";
  const options = {
    method: body === null ? "GET" : "POST",
    headers,
    signal,
    body: body === null ? null : JSON.stringify(body),
  };
  const started = performance.now();
  let response, text;
  try {
    response = await fetch(path, options);
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The server did not respond. Is the server running, and the connection up?");
  }
  const roundTrip = performance.now() - started;
  const json = parsed(text);
  if (!response.ok || json === null) {
    const said = json?.error?.message ?? `The server answered with status ${response.status} without a reason.`;
    throw new ApiError(response.status, said, seconds(response.headers.get("Retry-After")));
  }
  const timing = response.headers.get("Server-Timing") ?? "";
  return { json, roundTrip, server: duration(timing, "total"), queue: duration(timing, "queue") };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Retry-After in seconds; null for its form with a date. */
const seconds = (header) => (/^\d+$/.test(header ?? "") ? Number(header) : null);

/** Milliseconds of one entry `NAME;dur=12.3` of Server-Timing. */
function duration(header, name) {
  const part = header
    .split(",")
    .map((one) => one.split(";").map((word) => word.trim()))
    .find(([first]) => first === name);
  const found = part?.find((word) => word.startsWith("dur="));
  return found ? Number(found.slice("dur=".length)) : null;
}

/** Whether the user entered a key. Requests refused at the same time share one dialog. */
function keyFromUser(wrong) {
  keyDialog ??= new Promise((resolve) => {
    const dialog = byId("key-dialog");
    byId("key-wrong").textContent = wrong ? "The server did not accept that key." : "";
    byId("key").value = "";
    dialog.returnValue = "cancel";
    dialog.addEventListener(
      "close",
      () => {
        const given = byId("key").value.trim();
        byId("key").value = "";
        if (dialog.returnValue === "use") key = given;
        toggleForget();
        keyDialog = null;
        resolve(dialog.returnValue === "use" && given !== "");
      },
      { once: true },
    );
    dialog.showModal();
  });
  return keyDialog;
}

/** Forget the key. */
export function forgetKey() {
  key = "";
  toggleForget();
}

function toggleForget() {
  byId("forget").toggleAttribute("hidden", key === "");
}
