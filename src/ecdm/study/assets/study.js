"use strict";

const SECTIONS = ["start", "question", "done", "failure"];
const find = (id) => document.getElementById(id);

let questions = [];
const votes = new Map();
const unsaved = new Map();
let at = 0;
let sending = Promise.resolve();

// Text goes in as text, never as markup: a caption cannot do anything.
const write = (id, text) => { find(id).textContent = text; };

function tell(text, wrong = false) {
  write("status", text);
  find("status").classList.toggle("wrong", wrong);
}

function show(name) {
  for (const id of SECTIONS) find(id).hidden = id !== name;
  const asking = name === "question";
  for (const id of ["count", "progress", "help"]) find(id).hidden = !asking;
  const heading = find(name).querySelector("[tabindex='-1']");
  // A screen reader goes on reading where the focus is.
  heading.focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

function update() {
  find("progress").max = questions.length;
  find("progress").value = votes.size;
  write("count", `Question ${at + 1} of ${questions.length}`);
  find("next").setAttribute("aria-disabled", String(!votes.has(questions[at].id)));
  write("next", at + 1 === questions.length ? "Finish" : "Next");
}

function choice(option, number, question) {
  const label = document.createElement("label");
  const radio = document.createElement("input");
  const image = document.createElement("img");
  const title = document.createElement("span");
  Object.assign(radio, { type: "radio", name: "option", value: option, checked: votes.get(question.id) === option });
  Object.assign(image, { src: `/images/${option}.png`, alt: `Picture ${number}`, width: 128, height: 128 });
  title.textContent = `Picture ${number}`;
  title.setAttribute("aria-hidden", "true");
  radio.addEventListener("change", () => choose(question, option));
  label.append(radio, image, title);
  return label;
}

function ask(position) {
  at = position;
  const question = questions[at];
  write("ask", question.ask);
  write("caption", question.caption);
  find("input").src = `/images/${question.input}.png`;
  find("back").hidden = at === 0;
  const options = find("options");
  options.replaceChildren(...question.options.map((option, i) => choice(option, i + 1, question)));
  options.classList.toggle("few", question.options.length === 2);
  options.style.setProperty("--columns", columns(question.options.length));
  write("last-key", question.options.length);
  tell(votes.has(question.id) ? "Your answer is saved. You can change it." : "");
  update();
  show("question");
}

// Four at most side by side, without a row that holds a single picture.
function columns(count) {
  return count <= 4 ? count : Math.ceil(count / Math.ceil(count / 4));
}

function choose(question, option) {
  votes.set(question.id, option);
  unsaved.set(question.id, option);
  update();
  tell("Saving …");
  save();
}

// One request after the other, so that the last choice is the last one to arrive.
function save() {
  sending = sending.then(async () => {
    for (const [question, option] of [...unsaved]) {
      try {
        await send("/votes", { question, option });
      } catch (error) {
        tell(error.message, true);
        return;
      }
      if (unsaved.get(question) === option) unsaved.delete(question);
    }
    if (!unsaved.size) tell("Saved.");
  });
  return sending;
}

async function send(path, content) {
  const post = content && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content) };
  let response;
  try {
    response = await fetch(path, post);
  } catch {
    throw new Error("The server does not answer. Press Next to try again.");
  }
  if (!response.ok) throw new Error(response.status === 401 ? "Please reload the page." : `Error ${response.status}. Press Next to try again.`);
  return response.json();
}

async function next() {
  if (!votes.has(questions[at].id)) {
    tell("Please choose a picture first.", true);
    return;
  }
  const from = at;
  if (unsaved.size) await save();
  if (unsaved.size || at !== from) return;
  go(at + 1);
}

// The place is in the address, so that the browser's own Back and Forward work.
function go(position) {
  const place = position < questions.length ? `#${position + 1}` : "#end";
  // Not by setting the hash: its event comes later, and a key pressed until then would act on the old question.
  if (location.hash !== place) history.pushState(null, "", place);
  follow();
}

function follow() {
  const open = questions.findIndex((question) => !votes.has(question.id));
  const reachable = open < 0 ? questions.length : open;
  if (location.hash === "#end" && open < 0) {
    write("summary", `All ${questions.length} answers are saved.`);
    show("done");
    return;
  }
  const wanted = Number(location.hash.slice(1)) - 1;
  const known = Number.isInteger(wanted) && wanted >= 0 && wanted < questions.length;
  if (known && wanted <= reachable) ask(wanted);
  else if (votes.size) go(reachable);
  else show("start");
}

function pressed(event) {
  if (find("question").hidden || !find("keys").checked || event.ctrlKey || event.metaKey || event.altKey) return;
  const radios = [...find("options").querySelectorAll("input")];
  const chosen = radios.findIndex((radio) => radio.checked);
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const digit = /^[1-9]$/.test(event.key) ? Number(event.key) - 1 : -1;
  const onControl = event.target.closest("button, summary, .switch");
  if (digit >= 0 && digit < radios.length) pick(radios[digit], event);
  else if (step) pick(radios[chosen < 0 ? (step > 0 ? 0 : radios.length - 1) : (chosen + step + radios.length) % radios.length], event);
  else if (event.key === "Enter" && !onControl && !event.repeat) { event.preventDefault(); next(); }
  else if (event.key === "Backspace" && at > 0) { event.preventDefault(); go(at - 1); }
}

function pick(radio, event) {
  event.preventDefault();
  radio.focus();
  if (!radio.checked) radio.click();
}

function enlarge() {
  const large = find("options").classList.toggle("large");
  find("size").setAttribute("aria-pressed", String(large));
}

async function load() {
  try {
    const [page, mine] = await Promise.all([send("/questions.json"), send("/votes")]);
    questions = page.questions;
    for (const question of questions) {
      const option = mine.votes[question.id];
      if (question.options.includes(option)) votes.set(question.id, option);
    }
  } catch (error) {
    write("reason", error.message);
    show("failure");
    return;
  }
  write("length", `${questions.length} questions.`);
  follow();
}

find("begin").addEventListener("click", () => go(0));
find("review").addEventListener("click", () => go(0));
find("reload").addEventListener("click", () => location.reload());
find("back").addEventListener("click", () => go(at - 1));
find("size").addEventListener("click", enlarge);
find("question").addEventListener("submit", (event) => { event.preventDefault(); next(); });
document.addEventListener("keydown", pressed);
window.addEventListener("hashchange", follow);
load();
