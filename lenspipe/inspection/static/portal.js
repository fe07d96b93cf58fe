// The inspection portal in the browser. Votes are first kept here, then sent until the server
// confirms that they are on its disk; images are fetched before they are needed.

import { Around } from "./around.js";
import { showCriteria } from "./help.js";
import { Outbox } from "./outbox.js";
import { Pictures, blank, filterOf, paint } from "./pictures.js";
import { nextSteps, resultTable, tallyLine } from "./result.js";
import { buildPanel, buildTile, markTile, showNote } from "./tiles.js";
import { FILTERS, STRETCHES, describeView, findEntry, spokenEntry, timeLeft } from "./words.js";

const $ = (id) => document.getElementById(id);
const state = { entries: [], at: 0, grid: false, history: [], begin: 0, spent: 0, durations: [], about: {}, turn: 0, queue: null, skipped: new Set(), order: [], filter: "" };
const FIRST_VIEW = { show: "image", stretch: "viewer", invert: false, brightness: 0, contrast: 0, zoom: 0, x: 0, y: 0, wide: false };
const view = { ...FIRST_VIEW };
const gained = () => ({ ...view, gain: 1.25 ** view.brightness });
const pictures = new Pictures(gained);
const AWAY = "The portal does not answer; asking again.";
const MESSAGE_MS = 6000, DOUBLE_CLICK_S = 0.3;
let outbox, around;

// --- The list ------------------------------------------------------------------------------------

// Content of the server's answer, which is asked again until it comes; none if it is refused.
async function ask(path) {
  for (;;) {
    const answer = await fetch(path).catch(() => null);
    const content = await answer?.json().catch(() => null);
    complain(content ? content.error : AWAY);
    if (content) return content.error ? null : content;
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}

async function load() {
  const about = await ask("list");
  if (!about) return;
  state.about = about;
  state.entries = about.entries;
  state.queue = about.next;
  outbox ??= new Outbox(about, showSaved, complain);
  outbox.apply(state.entries);
  const given = state.entries.map((e, at) => ({ at, n: e.n, grade: e.grade })).filter((e) => e.grade);
  given.sort((one, other) => one.n - other.n);
  // Grades of an earlier session can be undone, but not their changes.
  state.history = given.map(({ at }) => [{ at, grade: "", comment: state.entries[at].comment }]);
  state.durations = [];
  $("empty").hidden = state.entries.length > 0;
  $("empty").textContent = about.message;
  $("grades").hidden = !state.entries.length;
  if (!state.entries.length) return;
  state.order = state.entries.map((_, at) => at);
  state.filter = "";
  $("difference").hidden = !about.difference;
  $("difference-name").textContent = about.difference;
  $("bands").replaceChildren(...panels().map(buildPanel));
  around = new Around($("around"), about.around, look);
  $("wide").hidden = !about.around.length;
  $("training").hidden = !about.training;
  $("mode").hidden = about.training;
  for (const button of document.querySelectorAll("[data-do=undo]")) button.hidden = about.training;
  const last = given.length ? given.at(-1).at : -1;
  const next = nextUngraded(state.queue ? -1 : last);
  if (next < 0) return finish();
  show(next);
}

// The server may choose what comes next: `queue` has the places of the next images, best first.
function nextUngraded(after) {
  const n = state.entries.length;
  if (state.queue) {
    const queue = state.queue.places.map((place) => state.entries.findIndex((e) => e.place === place));
    const open = queue.filter((at) => at >= 0 && !state.entries[at].grade);
    const fresh = open.filter((at) => !state.skipped.has(at));
    const choice = fresh.length ? fresh : open;
    const next = choice[choice.indexOf(after) + 1] ?? choice[0];
    // While the server is away, go on with the list.
    if (next !== undefined || state.queue.left === queue.length) return next ?? -1;
  }
  for (let step = 1; step <= n; step++) {
    const at = (after + step + n) % n;
    if (!state.entries[at].grade) return at;
  }
  return -1;
}

// Asks what comes next, once the votes so far have arrived; one question at a time.
async function renewQueue() {
  if (!state.queue || state.renewing) return;
  state.renewing = true;
  await outbox.empty();
  const answer = await fetch("next").then((reply) => reply.json()).catch(() => null);
  state.renewing = false;
  if (answer?.next) state.queue = answer.next;
  showProgress();
}

// --- Votes ---------------------------------------------------------------------------------------

function secondsSpent() {
  const milliseconds = state.spent + performance.now() - state.begin;
  startClock();
  return Math.round(milliseconds) / 1000;
}

function startClock() { Object.assign(state, { begin: performance.now(), spent: 0 }); }

function put(at, grade, comment, seconds) {
  const entry = state.entries[at];
  Object.assign(entry, { grade, comment });
  outbox.add({ place: entry.place, grade, comment, seconds, tags: entry.tags });
}

function toggleTag(tag) {
  const entry = state.entries[state.at];
  if (!isShown(state.at)) return tell(`No tag: the image of ${entry.name} is not loaded yet.`, true);
  const has = entry.tags.includes(tag);
  entry.tags = has ? entry.tags.filter((other) => other !== tag) : [...entry.tags, tag];
  keepComment();
  put(state.at, entry.grade, entry.comment, 0);
  showTags();
  if (state.grid) showGrid();
  tell(`${has ? "No longer" : "Tag"} ${tag}: ${entry.name}.`);
}

function showTags() {
  const { tags } = state.entries[state.at];
  for (const button of $("tags").children) button.setAttribute("aria-pressed", tags.includes(button.dataset.tag));
}

// Only images that are on the screen can be graded.
function isShown(at) {
  const shown = state.grid ? $("grid").children[pageOf(at).indexOf(at)] : $("large");
  const { place } = state.entries[at];
  return shown.getAttribute("aria-busy") === "false" && shown.dataset.place === String(place);
}

function vote(grade) {
  const at = state.at;
  const { grade: before, name } = state.entries[at];
  if (isLocked()) return tell("Not graded: it is known which of these are lenses.", true);
  if (state.about.training && before) return tell("Not graded again: you have seen what it is. \u2192 goes on.", true);
  if (!isShown(at)) return tell(`Not graded: the image of ${name} is not loaded yet.`, true);
  keepComment();
  const { comment } = state.entries[at];
  const seconds = secondsSpent();
  state.history.push([{ at, grade: before, comment }]);
  state.durations.push(seconds);
  put(at, grade, comment, seconds);
  if (state.about.training) return show(at);
  tell(`${grade}: ${name}. Undo with U.`);
  renewQueue();
  if (state.filter) return showAfter(at);
  if (state.grid) return at + 1 < state.entries.length ? show(at + 1) : endOfGrid();
  goOn();
}

// What is shown alone stays as it was chosen, also if grades change.
function showAfter(at) {
  const next = state.order[state.order.indexOf(at) + 1];
  if (next !== undefined) return show(next);
  show(at);
  tell(`The last of "${state.filter}" is graded. F shows all again.`);
}

// A grade given once it is known what is a lens would not tell how well lenses are found.
function isLocked() { return state.filter === "missed"; }

function gradeRest() {
  if (isLocked()) return tell("Not graded: it is known which of these are lenses.", true);
  const page = pageOf(state.at).filter((at) => !state.entries[at].grade && !state.entries[at].lost);
  if (!page.every(isShown)) return tell("Not graded: not all images of this page are loaded yet.", true);
  if (page.length) {
    const seconds = secondsSpent() / page.length;
    state.history.push(page.map((at) => ({ at, grade: "", comment: state.entries[at].comment })));
    for (const at of page) {
      state.durations.push(seconds);
      put(at, "D", state.entries[at].comment, seconds);
    }
  }
  renewQueue();
  tell(page.length ? `D: ${page.length} of this page. Undo with U.` : "This page was graded already.");
  if (state.filter) return showAfter(pageOf(state.at).at(-1));
  const next = pageOf(state.at).at(-1) + 1;
  if (next < state.entries.length) show(next);
  else endOfGrid();
}

function endOfGrid() {
  const next = nextUngraded(-1);
  if (next < 0) finish();
  else show(next);
}

function undo() {
  if (state.about.training) return tell("A grade is final in training.", true);
  const last = state.history.pop();
  if (!last) return tell("There is nothing to undo.", true);
  for (const { at, grade, comment } of last) put(at, grade, comment, 0);
  renewQueue();
  const [{ at, grade }] = last;
  if (!state.order.includes(at)) filter("");
  show(at);
  const now = grade ? `${grade} again` : "not graded";
  tell(last.length > 1 ? `Undone: ${last.length} are not graded.` : `Undone: ${state.entries[at].name} is ${now}.`);
}

function keepComment() {
  const entry = state.entries[state.at];
  const text = $("comment").value.trim();
  const comment = text.toWellFormed?.() ?? text; // half of a character cannot be stored
  if (state.grid || !entry || comment === entry.comment) return;
  put(state.at, entry.grade, comment, 0);
}

// In training: what an image shows, once it is graded and the vote has arrived.
async function showTruth() {
  if (!state.about.training) return;
  const entry = state.entries[state.at];
  $("truth").className = "";
  $("truth").textContent = "Grade this image to see what it is.";
  if (!entry.grade) return;
  $("truth").textContent = `You gave ${entry.grade}.`;
  await outbox.empty();
  const answer = await ask(`truth/${entry.place}`);
  if (!answer || state.entries[state.at] !== entry) return;
  const agrees = answer.lens === (entry.grade !== "D");
  $("truth").className = agrees ? "agrees" : "differs";
  $("truth").textContent = `${agrees ? "\u2713" : "\u2717"} You gave ${entry.grade}. ${answer.text}`;
  $("tally").textContent = tallyLine(answer.tally);
}

// --- Display -------------------------------------------------------------------------------------

function show(at) {
  state.at = Math.max(0, Math.min(at, state.entries.length - 1));
  startClock();
  $("done").hidden = true;
  $("single").hidden = state.grid;
  $("grid").hidden = !state.grid;
  $("grades").hidden = false;
  $("training").hidden = !state.about.training;
  document.querySelector("[data-do=rest]").hidden = !state.grid;
  $("mode").setAttribute("aria-pressed", state.grid);
  if (state.grid) showGrid();
  else showSingle();
  showProgress();
  const given = state.entries[state.at].grade;
  for (const button of document.querySelectorAll("footer .grade"))
    button.setAttribute("aria-pressed", button.dataset.grade === given);
  showTags();
  showState();
  showTruth();
  announce(spoken());
}

function goOn() {
  const next = nextUngraded(state.at);
  if (next < 0) finish();
  else show(next);
}

// Goes some images on, within what is shown.
function step(number) {
  const i = state.order.indexOf(state.at) + number;
  show(state.order[Math.max(0, Math.min(i, state.order.length - 1))]);
}

// Places that a filter shows; those of disagreements and missed lenses come with the result.
function chosenBy(name) {
  const test = FILTERS[name];
  const places = state.places?.[name];
  return state.entries.map((_, at) => at).filter((at) => {
    if (name === "skipped") return state.skipped.has(at) && !state.entries[at].grade;
    if (places) return places.includes(state.entries[at].place);
    return !test || test(state.entries[at]);
  });
}

// Shows only what a filter chooses; everything without one.
function filter(name, at = state.at) {
  keepComment();
  const order = chosenBy(name);
  if (!order.length) return tell(`Nothing to show: none is ${name}.`, true);
  Object.assign(state, { order, filter: name });
  grid.key = "";
  show(order.includes(at) ? at : order[0]);
}

function openFind() {
  keepComment();
  const names = ["skipped", ...Object.keys(FILTERS), ...Object.keys(state.places ?? {})];
  const buttons = [["", "all"], ...names.map((name) => [name, name])].map(([name, text]) => {
    const button = document.createElement("button");
    const number = chosenBy(name).length;
    button.type = "button";
    button.textContent = `${text} (${number})`;
    button.disabled = !number;
    button.setAttribute("aria-pressed", name === state.filter);
    button.addEventListener("click", () => { $("find").close(); filter(name); });
    return button;
  });
  $("filters").replaceChildren(...buttons);
  $("jump").value = "";
  $("find").showModal();
  $("jump").focus();
}

function jump() {
  const at = findEntry(state.entries, $("jump").value, state.at);
  $("find").close();
  if (at < 0) return tell(`Nothing is called "${$("jump").value}".`, true);
  if (!state.order.includes(at)) filter("", at);
  else show(at);
}

// In words: what of the list is shown, and how.
function showState() {
  const shown = state.order.indexOf(state.at) + 1;
  const words = [state.filter && `${state.filter}: ${shown} of ${state.order.length}`];
  if (state.grid) {
    const per = grid.columns * grid.rows;
    words.push(`page ${Math.ceil(shown / per)} of ${Math.ceil(state.order.length / per)}`);
  }
  words.push(describeView(view, state.about.difference));
  $("view").textContent = words.filter(Boolean).join("; ");
  $("all").hidden = !state.filter;
}

// Names of the panels beside the large image: each band, and what else could be large.
function panels() {
  const { bands, difference } = state.about;
  const others = { image: "image", residual: "residual", difference };
  delete others[view.show];
  return [...bands, ...Object.values(others).filter(Boolean)];
}

function showSingle() {
  const entry = state.entries[state.at];
  $("name").textContent = entry.name;
  $("place").textContent = `candidate ${state.at + 1} of ${state.entries.length}`;
  $("flags").textContent = entry.flags;
  $("position").textContent = entry.ra === null ? "" : `${entry.ra.toFixed(5)} ${entry.dec.toFixed(5)}`;
  $("comment").value = entry.comment;
  $("viewer").hidden = !entry.viewer;
  if (entry.viewer) $("viewer").href = entry.viewer;
  Object.assign(view, { x: 0, y: 0 });
  draw();
  const ahead = [state.at - 1];
  for (let at = state.at, i = 0; i < 8 && (at = nextUngraded(at)) >= 0; i++) ahead.push(at);
  pictures.prefetch([state.at + 1, ...ahead].map((at) => state.entries[at]?.place));
}

function draw() {
  state.turn++;
  const entry = state.entries[state.at];
  const canvases = [$("large"), ...$("bands").querySelectorAll("canvas")];
  const about = { pixel: state.about.pixel_arcsec, ...view };
  if (!isShown(state.at)) {
    // Do not show the image of another candidate until this one is loaded.
    canvases.forEach(blank);
    $("large").setAttribute("aria-busy", "true");
    showNote($("note"), "Loading");
  }
  const use = (image) => {
    if (state.grid || state.entries[state.at] !== entry) return;
    setShown($("large"), $("note"), entry);
    canvases.forEach((canvas, part) => paint(canvas, image, part, part ? { ...about, pixel: 0 } : about));
    canvases.forEach(look);
  };
  pictures.get(entry.place, { use, wanted: wanted(), fail: failed(entry, $("large"), $("note")) });
  const words = { image: "Colour image", residual: "Residual", [state.about.difference]: "Difference of bands" };
  panels().forEach((name, i) => {
    const panel = $("bands").children[i];
    panel.lastChild.textContent = name;
    panel.firstChild.setAttribute("aria-label", words[name] ?? `Band ${name}`);
  });
  const name = view.show === "difference" ? state.about.difference : view.show;
  $("large").setAttribute("aria-label", `${words[name]}, North up, East left`);
  $("around").hidden = !view.wide;
  if (view.wide) around.show(entry.place, gained());
  else around.close();
}

function look(canvas) { canvas.style.filter = filterOf(view, state.about.sky_levels[view.stretch]); }

// Whether nothing else has been drawn since.
function wanted() {
  const turn = state.turn;
  return () => turn === state.turn;
}

function setShown(shown, note, entry) {
  entry.lost = false;
  shown.dataset.place = entry.place;
  shown.setAttribute("aria-busy", "false");
  showNote(note, "");
}

// Called when the image of a candidate cannot be loaded, or not yet.
function failed(entry, shown, note) {
  return (problem) => {
    showNote(note, problem || AWAY, true);
    if (!problem || shown.getAttribute("aria-busy") === "false") return;
    entry.lost = true;
    shown.dataset.place = "";
    shown.setAttribute("aria-busy", "false");
  };
}

function setView(changes) {
  Object.assign(view, changes);
  for (const name of ["brightness", "contrast", "zoom"]) {
    const { min, max } = $(name);
    view[name] = Math.max(+min, Math.min(+max, view[name]));
    $(name).value = view[name];
  }
  $("large").style.touchAction = view.zoom ? "none" : "pan-y"; // a finger moves the image, or the page
  $("residual").setAttribute("aria-pressed", view.show === "residual");
  $("difference").setAttribute("aria-pressed", view.show === "difference");
  $("invert").setAttribute("aria-pressed", view.invert);
  $("wide").setAttribute("aria-pressed", view.wide);
  $("stretch-name").textContent = STRETCHES[view.stretch];
  showState();
  if (!state.entries.length || !$("done").hidden) return;
  if (state.grid) drawGrid();
  else draw();
}

function showProgress() {
  const total = state.entries.length;
  const graded = state.entries.filter((entry) => entry.grade).length;
  $("progress").max = total;
  $("progress").value = graded;
  $("count").textContent = `${graded} of ${total} graded`;
  $("left").textContent = timeLeft(state.durations, state.queue ? state.queue.left : total - graded);
}

function showSaved(waiting, failing) {
  $("saved").className = failing ? "waiting" : "";
  $("saved").textContent = failing ? `${waiting} not saved yet` : waiting ? "saving" : "all saved";
}

async function finish() {
  for (const id of ["single", "grid", "grades", "training"]) $(id).hidden = true;
  $("done").hidden = false;
  showProgress();
  $("result").textContent = "";
  $("done").focus();
  await outbox.empty();
  const result = await ask("result");
  if (!result) return;
  $("result").replaceChildren(resultTable(result, state.about.grader));
  $("next").replaceChildren(...nextSteps(result));
  if (result.tally) return;
  state.places = result.places;
  for (const name of ["disagreements", "missed"]) $(name).hidden = !result.places[name].length;
}

function spoken() { return spokenEntry(state.entries, state.at); }

function announce(text) { $("announcement").textContent = text; }

// A short message on the screen, which a screen reader reads too.
function tell(text, refused = false) {
  $("message").textContent = text;
  $("message").classList.toggle("refused", refused);
  clearTimeout(state.messageEnd);
  state.messageEnd = setTimeout(() => ($("message").textContent = ""), MESSAGE_MS);
}

function complain(text) {
  $("problem").textContent = text ?? "";
  $("problem").hidden = !text;
}

// --- The grid ------------------------------------------------------------------------------------

const TILE = { gap: 8, buttons: parseInt(getComputedStyle(document.documentElement).getPropertyValue("--target")), margin: 28 };
const grid = { columns: 1, rows: 1, key: "" };

// Tiles fill the window, with sides of at least 155 pixels, more on a large screen.
function layOut() {
  const { clientWidth, clientHeight } = $("main");
  const [width, height] = [clientWidth - TILE.margin + TILE.gap, clientHeight - 20 + TILE.gap];
  const smallest = Math.max(155, clientWidth / 10) + TILE.gap;
  grid.rows = Math.max(1, Math.floor(height / (smallest + TILE.buttons)));
  grid.columns = Math.max(1, Math.floor(width / smallest));
  const side = Math.floor(Math.min(height / grid.rows - TILE.buttons, width / grid.columns)) - TILE.gap;
  $("grid").style.gridTemplateColumns = `repeat(${grid.columns}, ${side}px)`;
}

function pageOf(at, order = state.order) {
  const per = grid.columns * grid.rows;
  const i = Math.max(0, order.indexOf(at));
  return order.slice(i - (i % per), i - (i % per) + per);
}

function showGrid() {
  layOut();
  const page = pageOf(state.at);
  const key = `${page[0]} ${page.length} ${grid.columns}`;
  if (grid.key !== key) {
    grid.key = key;
    $("grid").replaceChildren(...page.map((at) => buildTile(state.entries[at], {
      show: () => show(at),
      open: () => toggleGrid(at),
      grade: (grade, event) => {
        if (isDoubleClick(event)) return;
        state.at = at;
        vote(grade);
      },
    })));
    drawGrid();
    const ahead = state.order[state.order.indexOf(page.at(-1)) + 1];
    if (ahead !== undefined)
      pictures.prefetch(pageOf(ahead).map((at) => state.entries[at].place));
  }
  page.forEach((at, i) => markTile($("grid").children[i], at + 1, state.entries[at], at === state.at));
  $("grid").children[page.indexOf(state.at)].focus({ preventScroll: true });
}

function drawGrid() {
  state.turn++;
  pageOf(state.at).forEach((at, i) => {
    const tile = $("grid").children[i];
    const canvas = tile.querySelector("canvas");
    const note = tile.querySelector(".note");
    const entry = state.entries[at];
    if (!tile.dataset.place) showNote(note, "Loading");
    const use = (image) => {
      paint(canvas, image, 0, { pixel: state.about.pixel_arcsec, zoom: 0, x: 0, y: 0, tile: true });
      look(canvas);
      setShown(tile, note, entry);
    };
    pictures.get(entry.place, { use, wanted: wanted(), fail: failed(entry, tile, note) });
  });
}

function toggleGrid(at = state.at) {
  if (state.about.training) return tell("Training shows one image at a time.", true);
  keepComment();
  state.grid = !state.grid;
  grid.key = "";
  if (!state.grid) $("main").focus();
  show(at);
}

// --- Keys, buttons, mouse ------------------------------------------------------------------------

const actions = {
  back: () => step(-1),
  forward: () => (state.about.training && state.entries[state.at].grade ? goOn() : step(1)),
  skip: () => {
    state.skipped.add(state.at);
    if (state.grid || state.filter) return step(1);
    const next = nextUngraded(state.at);
    if (next >= 0) show(next);
  },
  undo,
  rest: gradeRest,
};

const keys = {
  a: () => vote("A"), b: () => vote("B"), c: () => vote("C"), d: () => vote("D"),
  4: () => vote("A"), 3: () => vote("B"), 2: () => vote("C"), 1: () => vote("D"),
  u: undo, s: actions.skip, g: () => toggleGrid(),
  n: () => state.grid ? gradeRest() : tell("N works in the grid, which G opens.", true),
  m: () => !state.grid && $("comment").focus(),
  v: () => !$("viewer").hidden && !state.grid && $("viewer").click(),
  r: () => setView({ show: view.show === "residual" ? "image" : "residual" }),
  e: () => state.about.difference && setView({ show: view.show === "difference" ? "image" : "difference" }),
  l: () => setView({ stretch: nextStretch() }),
  i: () => setView({ invert: !view.invert }),
  w: () => toggleWide(),
  0: () => setView(FIRST_VIEW),
  j: () => openFind(), f: () => state.filter && filter(""),
  ...Object.fromEntries([...$("tags").children].map((button, i) => ["56789qh"[i], () => toggleTag(button.dataset.tag)])),
  "?": () => openHelp(),
};

function toggleWide() {
  if (!state.about.around.length) return tell("No wider field: this run has no configuration.", true);
  if (state.grid) return tell("W works beside a single image, which Enter opens.", true);
  setView({ wide: !view.wide });
  if (view.wide) $("around").scrollIntoView({ block: "nearest" });
}

function openHelp() {
  $("keys").showModal();
  showCriteria($("criteria"), document.querySelectorAll("footer .grade"));
}

function nextStretch() {
  const names = Object.keys(STRETCHES);
  return names[(names.indexOf(view.stretch) + 1) % names.length];
}

// Keys that act again while they are held.
const heldKeys = {
  p: () => setView({ brightness: view.brightness + 1 }), "]": () => heldKeys.p(),
  o: () => setView({ brightness: view.brightness - 1 }), "[": () => heldKeys.o(),
  ".": () => setView({ contrast: view.contrast + 1 }),
  ",": () => setView({ contrast: view.contrast - 1 }),
  "+": () => setView({ zoom: view.zoom + 1 }), "=": () => heldKeys["+"](),
  "-": () => setView({ zoom: view.zoom - 1 }),
  arrowleft: actions.back, arrowright: actions.forward,
};

const gridKeys = {
  arrowup: () => step(-grid.columns),
  arrowdown: () => step(grid.columns),
  pageup: () => step(-1 - pageOf(state.at).indexOf(state.at)),
  pagedown: () => step(pageOf(state.at).length - pageOf(state.at).indexOf(state.at)),
};

// Some keyboards have signs such as [ and ] only with AltGr, which is Control and Alt in some
// browsers, or with Option, which is Alt.
function isShortcutOfBrowser(event) {
  const altGr = event.getModifierState("AltGraph");
  const isSign = event.key.length === 1 && !/[\p{L}\p{N}]/u.test(event.key);
  if (isSign && !event.metaKey && (event.altKey || altGr)) return false;
  return event.ctrlKey || event.metaKey || event.altKey || altGr;
}

document.addEventListener("keydown", (event) => {
  const { target } = event;
  if (event.isComposing || isShortcutOfBrowser(event) || !state.entries.length) return;
  // A button that is held acts once.
  if (event.repeat && event.key === "Enter" && target.matches("button, .tile")) event.preventDefault();
  if (document.querySelector("dialog[open]") || event.defaultPrevented) return;
  if (target === $("comment")) {
    if (event.key === "Escape") $("comment").value = state.entries[state.at].comment;
    if (event.key === "Escape" || (event.key === "Enter" && !event.shiftKey)) {
      event.preventDefault();
      $("main").focus();
    }
    return;
  }
  const key = event.key.toLowerCase();
  if (/^(arrow|page)/.test(key) && target.type === "range") return;
  if (key === "enter" && state.grid && target.classList.contains("tile")) return toggleGrid();
  const action = keys[key] ?? heldKeys[key] ?? (state.grid && gridKeys[key]);
  if (!action || (key !== "?" && !$("letters").checked) || !$("done").hidden && !["u", "?"].includes(key)) return;
  event.preventDefault();
  if (!event.repeat || !(key in keys)) action();
});

// The second click of a double click comes too soon to be on an image that was looked at.
function isDoubleClick(event) {
  return event.detail > 1 && performance.now() - state.begin < 1000 * DOUBLE_CLICK_S;
}

// After a button or slider was used with the mouse, keys are for the image again.
function releaseFocus() {
  if (state.grid) $("grid").querySelector("[aria-current=true]")?.focus({ preventScroll: true });
  else $("main").focus({ preventScroll: true });
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-grade], button[data-do]");
  const isVote = button?.dataset.grade || button?.dataset.do === "rest";
  if (button && !(isVote && isDoubleClick(event)))
    button.dataset.grade ? vote(button.dataset.grade) : actions[button.dataset.do]();
  if (event.target.closest(".sliders label span")) event.preventDefault(); // it would focus the slider
  if (event.detail && event.target.closest("header button, footer button, #single .switches button, .bar button") && !$("find").open) releaseFocus();
});
for (const type of ["pointerup", "pointercancel"])
  document.addEventListener(type, () => document.activeElement.type === "range" && releaseFocus());
$("mode").addEventListener("click", () => state.entries.length && toggleGrid());
$("help").addEventListener("click", openHelp);
$("again").addEventListener("click", () => filter("", 0));
for (const name of ["disagreements", "missed"]) $(name).addEventListener("click", () => filter(name));
$("find-open").addEventListener("click", () => state.entries.length && openFind());
$("jump-form").addEventListener("submit", (event) => {
  event.preventDefault();
  jump();
});
$("all").addEventListener("click", keys.f);
$("tags").addEventListener("click", (event) => {
  const { tag } = event.target.closest("button")?.dataset ?? {};
  if (tag) toggleTag(tag);
});
$("difference").addEventListener("click", keys.e);
$("invert").addEventListener("click", keys.i);
$("wide").addEventListener("click", keys.w);
$("residual").addEventListener("click", keys.r);
$("stretch").addEventListener("click", keys.l);
$("reset").addEventListener("click", keys[0]);
$("comment").addEventListener("blur", keepComment);
for (const name of ["brightness", "contrast", "zoom"])
  $(name).addEventListener("input", () => setView({ [name]: Number($(name).value) }));
$("letters").checked = localStorage.getItem("lenspipe keys") !== "off";
$("letters").addEventListener("change", () => localStorage.setItem("lenspipe keys", $("letters").checked ? "on" : "off"));
$("large").addEventListener("wheel", (event) => {
  event.preventDefault();
  setView({ zoom: view.zoom - Math.sign(event.deltaY) });
}, { passive: false });
$("large").addEventListener("pointermove", (event) => {
  if (!event.buttons || !view.zoom) return;
  const scale = $("large").clientWidth * 1.2 ** view.zoom;
  setView({ x: view.x - event.movementX / scale, y: view.y - event.movementY / scale });
});
new ResizeObserver(() => state.entries.length && $("done").hidden && (state.grid ? showGrid() : draw())).observe($("main"));
window.addEventListener("beforeunload", (event) => outbox?.waiting && event.preventDefault());
// Time while the page is hidden does not count.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) state.spent += performance.now() - state.begin;
  state.begin = performance.now();
});

load();
