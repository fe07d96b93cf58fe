// Shown to graders who have finished: all grades, and how well the graders agree.

export function resultTable(result, grader) {
  const number = (value) => value.toFixed(2);
  const percent = (fraction) => `${Math.round(100 * fraction)} %`;
  const counts = ["A", "B", "C", "D"].map((grade) => `${result.counts[grade] ?? 0} ${grade}`);
  const rows = [["Grades by all", counts.join(", ")]];
  const { repeats, ...lenses } = result.own;
  if (repeats.n) rows.push(["Your repeats", `${percent(repeats.same)} of ${repeats.n} graded as before`]);
  for (const [key, label] of [["found_known", "Known lenses"], ["found_injected", "Simulated lenses"]]) {
    const { n, found } = lenses[key];
    if (n) rows.push([label, `${percent(found)} of ${n} graded A to C`]);
  }
  const agreement = ({ n, alpha, alpha_low, alpha_high }) =>
    alpha === null
      ? `agreement not measured on ${n} images`
      : `alpha ${number(alpha)} (${number(alpha_low)} to ${number(alpha_high)}) on ${n} images`;
  for (const pair of result.pairs)
    rows.push([`With ${pair.one === grader ? pair.other : pair.one}`, agreement(pair)]);
  if (result.pairs.length > 1) rows.push(["All graders", agreement(result.all)]);
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

// What can be done with a finished list.
export function nextSteps({ places, next_stage }) {
  const { disagreements, missed } = places;
  const steps = [
    "lenspipe inspect RUN --export writes grades.csv, votes.csv and agreement.json. Do this before graders discuss: later grades replace the first ones.",
    disagreements.length && `${disagreements.length} candidates have grades of different graders that are two or more apart: look at them again together.`,
    missed.length && `You gave D to ${missed.length} known or simulated lenses: see what they look like. Their grades can't be changed there.`,
    next_stage && `lenspipe inspect RUN --stage 2 shows the ${next_stage} candidates with a mean of at least the limit again.`,
  ];
  return steps.filter(Boolean).map((text) => {
    const item = document.createElement("li");
    item.textContent = text;
    return item;
  });
}
