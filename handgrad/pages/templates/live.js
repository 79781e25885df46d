"use strict";
// Follows the server that this page comes from: after each save what differs is put in place.
const state = document.getElementById("live-state");
const said = document.getElementById("live-said");
let shown = 0;
let last = Promise.resolve();

const keyOf = (node) => node.dataset?.key ?? node.dataset?.sheet ?? node.dataset?.name;

// The child of `old` from `start` on that `fresh` is a later state of.
function match(start, fresh) {
  const key = keyOf(fresh);
  if (!key) return start && !keyOf(start) && start.nodeName === fresh.nodeName ? start : null;
  let node = start;
  while (node && (keyOf(node) !== key || node.nodeName !== fresh.nodeName)) node = node.nextSibling;
  return node;
}

// Only what differs is touched, so that the scroll place, the focus and what is open stay as they are.
function renew(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== Node.ELEMENT_NODE) { old.replaceWith(fresh); return; }
  for (const { name } of [...old.attributes]) {
    if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of [...fresh.attributes]) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  let here = old.firstChild;
  for (const node of [...fresh.childNodes]) {
    const found = match(here, node);
    if (!found) { old.insertBefore(node, here); continue; }
    while (here !== found) here = drop(here);
    here = found.nextSibling;
    renew(found, node);
  }
  while (here) here = drop(here);
}

function drop(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}

async function swap(lit) {
  const answer = await fetch("./", { cache: "no-store" });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  document.title = fresh.title;
  for (const part of ["header", "main"]) {
    renew(document.querySelector(part), fresh.querySelector(part));
  }
  for (const [sheet, name] of lit) {
    const place = `[data-sheet="${CSS.escape(sheet)}"] [data-name="${CSS.escape(name)}"]`;
    for (const one of document.querySelectorAll(place)) one.classList.add("lit");
  }
}

async function show(now) {
  if (now.version !== shown) {
    await swap(now.lit);
    shown = now.version;
  }
  state.textContent = now.state;
  said.classList.toggle("trouble", now.trouble);
  if (said.textContent !== now.said) said.textContent = now.said;
}

const events = new EventSource("events");
events.onmessage = (event) => { last = last.then(() => show(JSON.parse(event.data))).catch(console.error); };
events.onerror = () => { state.textContent = document.getElementById("live").dataset.ended; };
