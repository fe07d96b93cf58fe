// What one who is done may know: everybody's grades, and how well they agree.

export function resultTable(result, grader) {
  const number = (value) => (value === null ? "not measured" : value.toFixed(2));
  const percent = (part) => `${Math.round(100 * part)} %`;
  const counts = ["A", "B", "C", "D"].map((grade) => `${result.counts[grade] ?? 0} ${grade}`);
  const rows = [["Grades by all", counts.join(", ")]];
  const { repeats, ...planted } = result.own;
  if (repeats.n) rows.push(["Your repeats", `${percent(repeats.same)} of ${repeats.n} as before`]);
  for (const [key, what] of [["found_known", "Known lenses"], ["found_injected", "Simulated lenses"]]) {
    const { n, found } = planted[key];
    if (n) rows.push([what, `${percent(found)} of ${n} graded A to C`]);
  }
  for (const { one, other, n, kappa } of result.pairs)
    rows.push([`With ${one === grader ? other : one}`, `kappa ${number(kappa)} on ${n}`]);
  if (result.pairs.length > 1)
    rows.push(["All together", `kappa ${number(result.all.fleiss_kappa)} on ${result.all.n}`]);
  const table = document.createElement("table");
  for (const [what, value] of rows) {
    const row = table.insertRow();
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = what;
    row.append(head);
    row.insertCell().textContent = value;
  }
  return table;
}
