// Offsets. The server counts Unicode code points, JavaScript strings count UTF-16 units: an emoji is one there, two here.

/** How many code points a string has. */
export function length(text) {
  let points = 0;
  for (const _ of text) points += 1;
  return points;
}

/**
 * A text cut at its spans: pieces `{text, span}` in reading order, `span` null between them; joined they are the text.
 * Spans are `{start, end}` in code points, end exclusive. One that begins within another is left out.
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

/** The spans that overlap none before them in the list: of several answers, best first, those that can be shown at once. */
export function apart(spans) {
  const kept = [];
  for (const span of spans) {
    if (kept.every((other) => span.end <= other.start || span.start >= other.end)) kept.push(span);
  }
  return kept;
}
