// Shown to graders who have finished: all grades, and how well the graders agree.

export function resultTable(result, grader) {
  const number = (value) => (value === null ? "not measured" : value.toFixed(2));
  const percent = (fraction) => `${Math.round(100 * fraction)} %`;
  const counts = ["A", "B", "C", "D"].map((grade) => `${result.counts[grade] ?? 0} ${grade}`);
  const rows = [["Grades by all", counts.join(", ")]];
  const { repeats, ...lenses } = result.own;
  if (repeats.n) rows.push(["Your repeats", `${percent(repeats.same)} of ${repeats.n} graded as before`]);
  for (const [key, label] of [["found_known", "Known lenses"], ["found_injected", "Simulated lenses"]]) {
    const { n, found } = lenses[key];
    if (n) rows.push([label, `${percent(found)} of ${n} graded A to C`]);
  }
  for (const { one, other, n, kappa } of result.pairs)
    rows.push([`With ${one === grader ? other : one}`, `kappa ${number(kappa)} on ${n} images`]);
  if (result.pairs.length > 1)
    rows.push(["All graders", `kappa ${number(result.all.fleiss_kappa)} on ${result.all.n} images`]);
  const table = document.createElement("table");
  for (const [label, value] of rows) {
    const row = table.insertRow();
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = label;
    row.append(head);
    row.insertCell().textContent = value;
  }
  return table;
}
