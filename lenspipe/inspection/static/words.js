// Texts on the page and for screen readers.

export function spokenEntry(entries, at) {
  const { grade, flags, comment, tags } = entries[at];
  const words = [`${at + 1} of ${entries.length}`, grade && `graded ${grade}`, flags, ...tags];
  return [...words, comment && "has a comment"].filter(Boolean).join(", ");
}

export const STRETCHES = { viewer: "sky viewer", lupton: "Lupton", linear: "linear", asinh: "asinh", log: "log" };

// What differs from the view at the beginning; empty if nothing.
export function describeView(view, difference) {
  const steps = (name) => view[name] && `${name} ${view[name] > 0 ? "+" : "\u2212"}${Math.abs(view[name])}`;
  const words = [
    { image: "", residual: "residual", difference }[view.show],
    view.stretch !== "viewer" && `${STRETCHES[view.stretch]} stretch`,
    view.invert && "inverted", view.wide && "wide field", steps("brightness"), steps("contrast"), steps("zoom"),
  ].filter(Boolean);
  return words.length ? `${words.join(", ")} (0 resets)` : "";
}

// What can be shown alone: name -> whether an entry belongs to it.
export const FILTERS = {
  "ungraded": (entry) => !entry.grade,
  ...Object.fromEntries([..."ABCD"].map((grade) => [`my ${grade}`, (entry) => entry.grade === grade])),
  "commented": (entry) => entry.comment,
  "tagged": (entry) => entry.tags.length,
};

// Place in the list of a number or of a part of a name, the next one after `from`; -1 if none.
export function findEntry(entries, text, from) {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return -1;
  if (/^\d+$/.test(wanted) && +wanted >= 1 && +wanted <= entries.length) return +wanted - 1;
  for (let step = 1; step <= entries.length; step++) {
    const at = (from + step) % entries.length;
    if (entries[at].name.toLowerCase().includes(wanted)) return at;
  }
  return -1;
}

// From the median of the last 50 votes; empty for fewer than five.
export function timeLeft(seconds, number) {
  const recent = seconds.slice(-50).filter((s) => s > 0).sort((a, b) => a - b);
  if (recent.length < 5 || !number) return "";
  const minutes = (recent[Math.floor(recent.length / 2)] * number) / 60;
  if (minutes < 1) return "less than a minute left";
  return minutes < 90 ? `about ${Math.round(minutes)} min left` : `about ${(minutes / 60).toFixed(1)} h left`;
}
