// Texts on the page and for screen readers.

export function spokenEntry(entries, at) {
  const { grade, flags, comment } = entries[at];
  const words = [`${at + 1} of ${entries.length}`, grade && `graded ${grade}`, flags];
  return [...words, comment && "has a comment"].filter(Boolean).join(", ");
}

// From the median of the last 50 votes; empty for fewer than five.
export function timeLeft(seconds, number) {
  const recent = seconds.slice(-50).filter((s) => s > 0).sort((a, b) => a - b);
  if (recent.length < 5 || !number) return "";
  const minutes = (recent[Math.floor(recent.length / 2)] * number) / 60;
  if (minutes < 1) return "less than a minute left";
  return minutes < 90 ? `about ${Math.round(minutes)} min left` : `about ${(minutes / 60).toFixed(1)} h left`;
}
