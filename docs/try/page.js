// The page: reads the form, asks, and writes the answer as text, never as HTML.
"use strict";

const field = (name) => document.getElementById(name).value;

/** The program, which program.js brings. */
async function compile() {
  if (typeof PROGRAM === "undefined") throw new Error("program.js is missing: make try puts the page together with it");
  return WebAssembly.compile(Uint8Array.from(atob(PROGRAM), (letter) => letter.charCodeAt(0)));
}

function labels(text) {
  const all = {};
  for (const pair of text.split(/\s+/).filter(Boolean)) {
    const [name, ...value] = pair.split("=");
    (all[name] ??= []).push(value.join("="));
  }
  return all;
}

function say(lines) {
  const shown = lines.map(([text, kind]) => {
    const line = document.createElement("p");
    line.textContent = text;
    line.className = kind ?? "";
    return line;
  });
  document.getElementById("answer").replaceChildren(...shown);
}

function lines({ problems, decided }) {
  if (problems) return problems.map((text) => [text]);
  const steps = decided.rules.map(({ rule, comment, matches, field: differs, wanted, found }) => {
    const why = matches ? "matches, and decides" : `${differs}: "${wanted}" does not match "${found}"`;
    return [`acl[${rule}]${comment ? ` # ${comment}` : ""}: ${why}`];
  });
  const list = (actions) => actions.join(", ") || "nothing";
  if (decided.rule === null) steps.push(["no rule matches"]);
  return [...steps, [`granted: ${list(decided.granted)}`, "said"], [`withheld: ${list(decided.withheld)}`, "said"]];
}

const compiled = compile();
compiled.catch((error) => say([[String(error)]]));

document.getElementById("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const question = { labels: labels(field("labels")), at: field("at") || new Date().toISOString() };
  for (const name of ["rules", "account", "ip", "service", "reference", "scope"]) question[name] = field(name);
  try {
    say(lines(askPolicy(await compiled, question)));
  } catch (error) {
    say([[String(error)]]);
  }
});
