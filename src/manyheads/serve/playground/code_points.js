// Offsets. The server counts Unicode code points, JavaScript UTF-16 units: an emoji is one code point but two units.

/** Number of code points in a string. */
export function length(text) {
  let points = 0;
  for (const _ of text) points += 1;
  return points;
}

/**
 * Split a text at its spans: pieces `{text, span}` in reading order, with `span` null between spans.
 * Spans are `{start, end}` in code points, end exclusive. A span that starts within another is skipped.
 */
export function cut(text, spans) {
  const pieces = [];
  let unit = 0;
  let point = 0;
  const upTo = (target) => {
    const from = unit;
    while (point < target && unit < text.length) {
      unit += text.codePointAt(unit) > 0xffff ? 2 : 1;
      point += 1;
    }
    return text.slice(from, unit);
  };
  for (const span of [...spans].sort((a, b) => a.start - b.start)) {
    if (span.start < point || span.end <= span.start) continue;
    const between = upTo(span.start);
    if (between) pieces.push({ text: between, span: null });
    pieces.push({ text: upTo(span.end), span });
  }
  if (unit < text.length) pieces.push({ text: text.slice(unit), span: null });
  return pieces;
}

/** Spans as a tree `[{span, inner}]`, each inside the smallest one around it. One that crosses the edge of another is left out. */
export function nest(spans) {
  const roots = [];
  const open = [];
  for (const span of [...spans].sort((a, b) => a.start - b.start || b.end - a.end)) {
    while (open.length && open.at(-1).span.end <= span.start) open.pop();
    const around = open.at(-1);
    if (around && span.end > around.span.end) continue;
    const node = { span, inner: [] };
    (around?.inner ?? roots).push(node);
    open.push(node);
  }
  return roots;
}

/** The spans that overlap no earlier one in the list: with the best first, those that can be marked together. */
export function nonOverlapping(spans) {
  const kept = [];
  for (const span of spans) {
    if (kept.every((other) => span.end <= other.start || span.start >= other.end)) kept.push(span);
  }
  return kept;
}
