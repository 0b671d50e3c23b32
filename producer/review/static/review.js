// Keyboard shortcuts for everything that has a button; the page works without them.
"use strict";

document.documentElement.classList.add("script");

const isField = (element) =>
  element.matches("textarea, select, input:not([type=checkbox], [type=radio])");
const one = (selector) => document.querySelector(selector);
const answers = () => [...document.querySelectorAll("[name=answer]")].filter((box) => box.matches("input"));

// Highlight the button that fits what is ticked.
function showWhetherChanged() {
  const changed =
    answers().some((box) => box.checked !== box.hasAttribute("data-given")) ||
    Boolean(one("[name=more]")?.value.trim());
  one("[data-judges]")?.classList.toggle("changed", changed);
}

// What is selected, on one line, since a field would join the words around a line break. The names
// that stand for hidden characters are no part of the text.
function selectedWords() {
  const selection = getSelection();
  if (!selection.rangeCount) return "";
  const part = selection.getRangeAt(0).cloneContents();
  for (const name of part.querySelectorAll(".hidden-character")) name.remove();
  return part.textContent.replace(/\s+/g, " ").trim();
}

function press(target) {
  if (target.matches("[name=more]")) {
    const selected = selectedWords();
    if (selected) {
      target.value = [target.value.trim(), selected].filter(Boolean).join("; ");
      showWhetherChanged();
    }
  }
  if (isField(target)) {
    target.focus();
  } else {
    target.click();
  }
  if (target.hasAttribute("data-saves")) {
    one("[data-corrects]")?.click();
  }
}

document.addEventListener("keydown", (event) => {
  if (event.repeat || event.isComposing || event.altKey || event.metaKey) return;
  const at = event.target;
  if (isField(at)) {
    if (event.key === "Escape") at.blur();
    if (event.key === "Enter" && event.ctrlKey) one("[data-corrects]")?.click();
    return;
  }
  if (event.ctrlKey || one("#help").open) return;
  if (["Enter", " "].includes(event.key) && at.matches("a, button, summary")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const target = one(`[data-key="${CSS.escape(key)}"]`);
  if (!target) return;
  event.preventDefault();
  press(target);
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.opens) {
    one(`#${button.dataset.opens}`).showModal();
  }
  if (button?.matches("[data-clears]")) {
    for (const box of answers()) box.checked = false;
    showWhetherChanged();
  }
  if (button?.dataset.takes) {
    const taken = new Set(JSON.parse(button.dataset.takes));
    for (const box of answers()) {
      box.checked = taken.delete(box.value);
    }
    const more = one("[name=more]");
    if (more) more.value = [...taken].join("; ");
    showWhetherChanged();
    one("[data-corrects]")?.focus();
  }
});

document.addEventListener("input", showWhetherChanged);
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-sends]")) event.target.form.requestSubmit();
});

// A second press while the form is being sent would be a second verdict.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
});
window.addEventListener("pageshow", () => {
  for (const form of document.forms) delete form.dataset.sent;
  showWhetherChanged();
});
