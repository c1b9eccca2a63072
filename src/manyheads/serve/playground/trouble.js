// What went wrong, said kindly: what it was, what to do, and a button to try again where that can help.

import { h } from "./dom.js";
import { Refusal } from "./api.js";

const TITLES = {
  0: "The server cannot be reached",
  401: "An API key is needed",
  408: "The text did not arrive in time",
  413: "That is too much for one request",
  422: "The server could not take this",
  429: "The server is busy",
  503: "No answer in time",
};

/** A notice of an error, replacing what is in `place`. `again`, if given, is called by a button. */
export function tell(place, error, again = null) {
  if (!(error instanceof Refusal)) console.error(error);
  const status = error instanceof Refusal ? error.status : null;
  const title =
    status === null
      ? "This page has a fault"
      : (TITLES[status] ?? (status >= 500 ? "Something failed in the server" : "The server refused this"));
  const wait = status === 429 || status === 503 ? error.retryAfter : null;
  place.replaceChildren(
    h(
      "div",
      { class: "notice" },
      h("div", { role: "alert" }, h("p", { class: "title" }, title), h("p", {}, sentence(error.message))),
      again === null ? null : retry(again, wait),
    ),
  );
}

/** A notice of one row's error. */
export function tellRow(error) {
  const title = error.type === "invalid_row" ? "This text could not be read" : "This text could not be answered";
  return h(
    "div",
    { class: "notice", role: "alert" },
    h("p", { class: "title" }, title),
    h("p", {}, sentence(error.message)),
  );
}

/** The button counts the seconds that the server asked to wait; outside the alert, so that they are not read out one by one. */
function retry(again, wait) {
  const button = h("button", { type: "button" });
  const until = Date.now() + 1000 * (wait ?? 0);
  const look = () => {
    const left = Math.ceil((until - Date.now()) / 1000);
    button.disabled = left > 0;
    button.textContent = left > 0 ? `Try again in ${left} s` : "Try again";
    if (left > 0 && (button.isConnected || left === wait)) setTimeout(look, 250);
  };
  look();
  button.addEventListener("click", again);
  return button;
}

/** The server's messages begin in lower case and end without a stop. */
function sentence(message) {
  const text = message.trim();
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? "" : ".");
}
