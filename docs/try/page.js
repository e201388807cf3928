// The page: reads the form, asks, and writes the answer as text, never as HTML.
"use strict";

const field = (name) => document.getElementById(name).value;
const bytes = Uint8Array.from(atob(PROGRAM), (letter) => letter.charCodeAt(0));
const compiled = WebAssembly.compile(bytes);

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
