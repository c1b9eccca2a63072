// Helpers for DOM elements. Input from the user or the server becomes text nodes or attributes, never markup.

const SVG = "http://www.w3.org/2000/svg";

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false)
      element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** An HTML element with attributes (null or false: omitted) and children (elements, or strings as text). */
export const h = (tag, attributes = {}, ...children) => filled(document.createElement(tag), attributes, children);

/** An SVG element. */
export const s = (tag, attributes = {}, ...children) =>
  filled(document.createElementNS(SVG, tag), attributes, children);

/** A horizontal bar for a share from 0 to 1, with an optional line at `mark`. SVG: it prints, and needs no style attribute. */
export function bar(share, mark = null) {
  const width = 100 * Math.min(1, Math.max(0, share));
  return s(
    "svg",
    { class: "bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true", focusable: "false" },
    s("rect", { class: "track", width: 100, height: 10 }),
    s("rect", { class: "fill", width, height: 10 }),
    mark === null ? null : s("line", { class: "limit", x1: 100 * mark, x2: 100 * mark, y1: 0, y2: 10 }),
  );
}

/** Make an element focusable and named while it scrolls, so that it can be scrolled by keyboard. */
export function scrollable(element, name) {
  const update = () => {
    const scrolls = element.scrollHeight > element.clientHeight + 1 || element.scrollWidth > element.clientWidth + 1;
    if (scrolls) filled(element, { tabindex: "0", role: "group", "aria-label": name }, []);
    else for (const attribute of ["tabindex", "role", "aria-label"]) element.removeAttribute(attribute);
  };
  new ResizeObserver(update).observe(element);
  return element;
}

/** A value as JSON in a <details>, rendered only when opened: vectors are long. */
export function raw(summary, value) {
  const code = h("code");
  const details = h("details", { class: "raw" }, h("summary", {}, summary), scrollable(h("pre", {}, code), summary));
  details.addEventListener("toggle", () => {
    if (details.open && !code.firstChild) code.textContent = pretty(value);
  });
  return details;
}

/** JSON with each list of numbers on one line. */
function pretty(value) {
  const vectors = [];
  const place = `vector ${Math.random().toString(36).slice(2)} `;
  const kept = JSON.stringify(
    value,
    (_, item) => {
      if (!Array.isArray(item) || !item.length || !item.every((number) => typeof number === "number")) return item;
      return place + (vectors.push(JSON.stringify(item)) - 1);
    },
    2,
  );
  return kept.replace(new RegExp(`"${place}(\\d+)"`, "g"), (_, i) => vectors[i]);
}

export const byId = (id) => document.getElementById(id);

/** "1 entity", "2 entities". */
export const counted = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
