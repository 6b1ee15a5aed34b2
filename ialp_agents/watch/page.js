"use strict";
// Whole sessions come from the server; here they are stepped through. Texts of items are
// strangers': they are only ever put in as textContent.

const STEP_MS = 1200;
const find = id => document.getElementById(id);
const sides = [...document.querySelectorAll(".side")];
let sessions = [];  // of the two sides
let step = 0, timer = null, latest = 0;

async function get(path) {
  const answer = await fetch(path);
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error);
  return content;
}

function say(error) {
  find("error").textContent = error;
  find("error").hidden = !error;
}

const longest = () => Math.max(0, ...sessions.map(session => session.steps.length));

async function load() {
  stop();
  const number = ++latest;
  const seed = find("seed");
  if (!seed.checkValidity() || seed.value === "") {
    say(`The seed must be a whole number from 0 to ${seed.max}.`);
    return;
  }
  try {
    const wanted = sides.map(side => {
      const player = side.querySelector(".player").value;
      return get("/session?" + new URLSearchParams({player, seed: seed.value}));
    });
    const found = await Promise.all(wanted);
    if (number !== latest) return;  // another user was asked for meanwhile
    sessions = found;
    step = 0;
    say("");
    draw();
  } catch (error) {
    say(`No session: ${error.message}. Is the server still running?`);
  }
}

function cell(row, text, kind) {
  const made = row.insertCell();
  made.textContent = text;
  made.className = kind;
}

function drawSide(side, session) {
  const shown = session.steps.slice(0, step);
  const sum = shown.reduce((total, each) => total + each.reward, 0);
  const isOver = step >= session.steps.length;
  const patience = shown.length ? shown[shown.length - 1].patience : session.start;
  const answers = session.steps.some(each => each.accepted !== null);
  side.querySelector(".sum").textContent = `Return ${sum.toFixed(2)}, Length ${shown.length}`;
  side.querySelector(".bar span").style.width = `${100 * patience.share}%`;
  side.querySelector(".limit").textContent = patience.text;
  side.querySelector(".ending").textContent = isOver ? session.ending : "";
  side.querySelector("th.answer").hidden = !answers;
  const body = side.querySelector("tbody");
  body.replaceChildren();
  shown.forEach((each, place) => {
    const row = body.insertRow();
    if (place === step - 1) row.className = "newest";
    cell(row, place + 1, "number");
    cell(row, each.text, "");
    if (answers) {
      const answer = each.accepted ? "accepted" : "refused";
      cell(row, answer, answer);
    }
    cell(row, each.reward.toFixed(2), "number");
  });
  const box = side.querySelector(".scroll");
  box.scrollTop = box.scrollHeight;
}

function draw() {
  sides.forEach((side, place) => drawSide(side, sessions[place]));
  const {user, before} = sessions[0];
  find("user").textContent = user;
  find("user").hidden = !user;
  find("items").textContent = before.join("; ");
  find("before").hidden = before.length === 0;
  find("place").textContent = `step ${step} of ${longest()}`;
  find("back").disabled = step === 0;
  find("next").disabled = step === longest();
}

function move(by) {
  step = Math.min(longest(), Math.max(0, step + by));
  if (step === longest()) stop();
  draw();
}

function stop() {
  clearInterval(timer);
  timer = null;
  find("play").textContent = "play";
}

function play() {
  if (timer !== null) return stop();
  if (step === longest()) step = 0;
  find("play").textContent = "pause";
  timer = setInterval(() => move(1), STEP_MS);
  move(1);
}

function by(steps) {
  stop();
  if (sessions.length) move(steps);
}

async function begin() {
  const about = await get("/about");
  find("about").textContent = `${about.title}; data ${about.data}`;
  find("replica").hidden = !about.replica;
  find("seed").max = about.most_seed;
  sides.forEach((side, place) => {
    side.append(find("side").content.cloneNode(true));
    const select = side.querySelector(".player");
    for (const name of about.players) select.add(new Option(name, name));
    select.value = about.first[place];
    select.addEventListener("change", load);
  });
  find("seed").addEventListener("change", load);
  find("another").addEventListener("click", () => {
    find("seed").stepUp();
    load();
  });
  find("back").addEventListener("click", () => by(-1));
  find("next").addEventListener("click", () => by(1));
  find("play").addEventListener("click", () => sessions.length && play());
  document.addEventListener("keydown", event => {
    // In a field or on a button, keys are the field's or the button's.
    if (event.target !== document.body) return;
    if (event.key === "ArrowLeft") by(-1);
    if (event.key === "ArrowRight") by(1);
    if (event.key === " ") { event.preventDefault(); sessions.length && play(); }
  });
  await load();
}

begin().catch(error => say(error.message));
