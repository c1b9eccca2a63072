// Requests to the server that sent this page. The API key lives in this module's memory and nowhere else.

import { byId } from "./dom.js";

let key = "";
let asking = null;

/** The server, or the way to it, said no. `status` 0: it could not be reached. */
export class Refusal extends Error {
  constructor(status, message, retryAfter = null) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/**
 * Ask a route: `{json, roundTrip, server, queue}`, times in ms (the server's own null where it did not tell). `body` null: GET.
 * A 401 opens the dialog for the key and tries again; raises Refusal, or the abort of `signal`.
 */
export async function ask(path, body = null, signal = null) {
  for (;;) {
    const used = key;
    try {
      return await once(path, body, signal);
    } catch (error) {
      if (!(error instanceof Refusal) || error.status !== 401) throw error;
      if (used === key && !(await keyFromUser(used !== ""))) throw error;
    }
  }
}

async function once(path, body, signal) {
  const headers = { Accept: "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body !== null) headers["Content-Type"] = "application/json";
  const request = {
    method: body === null ? "GET" : "POST",
    headers,
    signal,
    body: body === null ? null : JSON.stringify(body),
  };
  const started = performance.now();
  let response, text;
  try {
    response = await fetch(path, request);
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "No answer came back. Is the server running, and the connection up?");
  }
  const roundTrip = performance.now() - started;
  const json = parsed(text);
  if (!response.ok || json === null) {
    const said = json?.error?.message ?? `The server answered with status ${response.status} and did not say why.`;
    throw new Refusal(response.status, said, seconds(response.headers.get("Retry-After")));
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

/** Retry-After in seconds; the form with a date counts as not given. */
const seconds = (header) => (/^\d+$/.test(header ?? "") ? Number(header) : null);

/** Milliseconds of one of the parts `NAME;dur=12.3`. */
function duration(header, name) {
  const part = header
    .split(",")
    .map((one) => one.split(";").map((word) => word.trim()))
    .find(([first]) => first === name);
  const found = part?.find((word) => word.startsWith("dur="));
  return found ? Number(found.slice("dur=".length)) : null;
}

/** Whether the user gave a key. Several requests that are refused at once ask once. */
function keyFromUser(wrong) {
  asking ??= new Promise((resolve) => {
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
        offerForgetting();
        asking = null;
        resolve(dialog.returnValue === "use" && given !== "");
      },
      { once: true },
    );
    dialog.showModal();
  });
  return asking;
}

/** Drop the key. */
export function forgetKey() {
  key = "";
  offerForgetting();
}

/** The button is on the playground only. */
function offerForgetting() {
  byId("forget")?.toggleAttribute("hidden", key === "");
}
