// How a text was written, pass by pass: drafts accepted and rejected, or guesses that settle.

import { button, make } from "./dom";

export interface Token {
  id: number;
  letters: string;
}

interface Round {
  drafted: Token[];
  accepted: number;
  written: Token[];
  source: string;
}

interface Iteration {
  place: number;
  guess: Token[];
  state: Token[];
  confirmed: number;
}

export type Trace =
  | { kind: "speculative"; tokens: Token[]; rounds: Round[] }
  | { kind: "jacobi"; tokens: Token[]; iterations: Iteration[]; fast_forwarded: number; stationary: number };

type Fate = "own" | "free" | "wrong" | "unread" | "fixed" | "guess";

interface Chip {
  token: Token;
  fate: Fate;
}

/** One pass of the model: what it made final, and what else was tried in it. */
interface Pass {
  place: number;
  chips: Chip[];
  line: string;
}

const LEGENDS: Record<Trace["kind"], [Fate, string][]> = {
  speculative: [
    ["own", "the model's own"],
    ["free", "drafted and accepted"],
    ["wrong", "drafted and rejected"],
    ["unread", "behind a rejected one"],
  ],
  jacobi: [
    ["own", "the one that every pass gives"],
    ["free", "fast-forwarded: final in the same pass"],
    ["fixed", "right already, but not final yet"],
    ["guess", "still a guess"],
  ],
};
const SECONDS_A_PASS = 0.45;

function drafts(rounds: Round[]): Pass[] {
  let place = 0;
  return rounds.map((round) => {
    const kept = Math.min(round.accepted, round.written.length);
    const chips: Chip[] = round.written.map((token, index) => ({ token, fate: index < kept ? "free" : "own" }));
    const left = round.drafted.slice(round.accepted);
    const judged = round.written.length > kept; // the model went another way here
    chips.push(...left.map((token, index): Chip => ({ token, fate: judged && index === 0 ? "wrong" : "unread" })));
    const line = round.drafted.length === 0 ? "no draft" : `${round.accepted} of ${round.drafted.length} accepted`;
    const pass = { place, chips, line };
    place += round.written.length;
    return pass;
  });
}

function guesses(iterations: Iteration[], tokens: Token[]): Pass[] {
  return iterations.map(({ place, state, confirmed }) => {
    const fate = (token: Token, index: number): Fate => {
      if (index < confirmed) return index === 0 ? "own" : "free";
      return tokens[place + index]?.id === token.id ? "fixed" : "guess";
    };
    return { place, chips: state.map((token, index) => ({ token, fate: fate(token, index) })), line: `${confirmed} final` };
  });
}

const final = (chip: Chip): boolean => chip.fate === "own" || chip.fate === "free";

/** The letters as they stand in a text, or as they can be seen by themselves. */
function chip({ token, fate }: Chip, alone: boolean): HTMLElement {
  const seen = token.letters === "" ? "end" : token.letters.replaceAll("\n", alone ? "↵" : "↵\n");
  return make("span", { class: "token", "data-fate": fate, "data-special": token.letters === "" }, seen);
}

export function traced(trace: Trace, seconds: number): HTMLElement {
  const passes = trace.kind === "speculative" ? drafts(trace.rounds) : guesses(trace.iterations, trace.tokens);
  const paper = make("p", {});
  const whole = make("p", { class: "trace-ghost", "aria-hidden": "true" }, ...passes.flatMap((each) => each.chips.filter(final)).map((each) => chip(each, false)));
  const rows = passes.map((pass, index) => row(pass, index, () => show(index)));
  const list = make("ol", { class: "passes" }, ...rows);
  const slider = make("input", { type: "range", min: 0, max: Math.max(passes.length - 1, 0), value: 0, "aria-label": "Pass" });
  const shown = make("output", {});
  const play = button("Play", () => (timer === undefined ? run() : halt()), { class: "quiet" });
  let timer: ReturnType<typeof setInterval> | undefined;
  let at = 0;

  function show(index: number): void {
    at = Math.max(0, Math.min(index, passes.length - 1));
    const pass = passes[at];
    if (!pass) return;
    const before = passes.slice(0, at).flatMap((each) => each.chips.filter(final)).slice(0, pass.place);
    paper.replaceChildren(...before.map((each) => chip(each, false)), make("span", { class: "trace-now" }, ...pass.chips.map((each) => chip(each, false))));
    slider.value = String(at);
    shown.textContent = `pass ${at + 1} of ${passes.length}`;
    rows.forEach((each, number) => (number === at ? each.setAttribute("aria-current", "step") : each.removeAttribute("aria-current")));
    const current = rows[at]!;
    list.scrollTop = current.offsetTop - (list.clientHeight - current.offsetHeight) / 2;
  }

  function run(): void {
    if (at === passes.length - 1) show(0);
    play.textContent = "Pause";
    timer = setInterval(() => {
      if (at >= passes.length - 1 || !paper.isConnected) halt();
      else show(at + 1);
    }, SECONDS_A_PASS * 1000);
  }

  function halt(): void {
    clearInterval(timer);
    timer = undefined;
    play.textContent = "Play";
  }

  slider.addEventListener("input", () => show(Number(slider.value)));
  const legend = make("ul", { class: "trace-legend" }, ...LEGENDS[trace.kind].map(([fate, words]) => make("li", {}, make("span", { class: "token", "data-fate": fate }, "abc"), words)));
  const element = make(
    "article",
    { class: "traced" },
    make("div", { class: "trace-figures" }, ...figures(trace, passes, seconds).map(([number, words]) => make("p", {}, make("strong", {}, number), words))),
    make("div", { class: "trace-paper" }, whole, paper), // the whole text keeps its place from the first pass on
    make("div", { class: "player" }, button("←", () => show(at - 1), { class: "quiet", "aria-label": "One pass back" }), play, button("→", () => show(at + 1), { class: "quiet", "aria-label": "One pass on" }), slider, shown),
    legend,
    list,
  );
  show(0);
  run();
  return element;
}

function row(pass: Pass, index: number, act: () => void): HTMLElement {
  const chips = make("span", { class: "pass-chips" }, ...pass.chips.map((each) => chip(each, true)));
  const pressed = button("", act, { class: "pass-button", "aria-label": `Pass ${index + 1}: ${pass.line}` });
  pressed.append(make("span", { class: "pass-number" }, String(index + 1)), chips, make("span", { class: "pass-line" }, pass.line));
  return make("li", { class: "pass" }, pressed);
}

function figures(trace: Trace, passes: Pass[], seconds: number): [string, string][] {
  const tokens = trace.tokens.length;
  const rate: [string, string] = [(tokens / Math.max(passes.length, 1)).toFixed(2), "tokens a pass"];
  const whole: [string, string] = [`${tokens}`, `tokens in ${passes.length} passes, ${seconds.toFixed(1)} s`];
  if (trace.kind === "jacobi") return [rate, whole, [`${trace.fast_forwarded}`, "fast-forwarded"], [`${trace.stationary}`, "right behind a wrong one"]];
  const drafted = trace.rounds.reduce((sum, round) => sum + round.drafted.length, 0);
  const accepted = trace.rounds.reduce((sum, round) => sum + Math.min(round.accepted, round.written.length), 0);
  return [rate, whole, [`${accepted}`, `of ${drafted} drafted tokens accepted`]];
}
