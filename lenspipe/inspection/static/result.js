// Shown to graders who have finished: all grades, and how well the graders agree.

export function resultTable(result, grader) {
  if (result.tally) return buildTable(tallyRows(result.tally));
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
  return buildTable(rows);
}

function buildTable(rows) {
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

// Of a training: how many lenses were found, and how many non-lenses taken for lenses.
function tallyRows({ lenses, found, others, taken }) {
  const part = (some, all) => all ? `${some} of ${all} (${Math.round((100 * some) / all)} %)` : "none yet";
  return [["Lenses graded A to C", part(found, lenses)], ["Non-lenses graded A to C", part(taken, others)]];
}

export function tallyLine(tally) {
  return tallyRows(tally).map(([label, value]) => `${label}: ${value}`).join("; ");
}

// What can be done with a finished list.
export function nextSteps({ tally, places, next_stage }) {
  if (tally) return listItems([
    "lenspipe inspect RUN --training --seed 1 shows other images.",
    "lenspipe inspect RUN shows the candidates. No grade of this training is among theirs.",
  ]);
  const { disagreements, missed } = places;
  const steps = [
    "lenspipe inspect RUN --export writes grades.csv, votes.csv and agreement.json. Do this before graders discuss: later grades replace the first ones.",
    disagreements.length && `${disagreements.length} candidates have grades of different graders that are two or more apart: look at them again together.`,
    missed.length && `You gave D to ${missed.length} known or simulated lenses: see what they look like. Their grades can't be changed there.`,
    next_stage && `lenspipe inspect RUN --stage 2 shows the ${next_stage} candidates with a mean of at least the limit again.`,
  ];
  return listItems(steps.filter(Boolean));
}

function listItems(texts) {
  return texts.map((text) => {
    const item = document.createElement("li");
    item.textContent = text;
    return item;
  });
}
