// The page "Touch": click on things, drag them, and find them everywhere.

import { Refused, type Upload, upload, uploadAddress } from "./api";
import { button, byId } from "./dom";
import { everywhere } from "./everywhere";
import { mark } from "./mark";
import { pull } from "./pull";
import { stage } from "./stage";
import { scene, tools } from "./touch_api";
import { type Mode, type ModeName, type Opened, type Page, choose, chosen, gaveUp, words } from "./touch_page";

const FILMS = /\.(mp4|webm|mov|mkv|avi|gif|apng)$/i;

async function open(): Promise<void> {
  const [error, hint, empty] = [byId("error", HTMLParagraphElement), byId("hint", HTMLParagraphElement), byId("empty", HTMLDivElement)];
  const place = byId("place", HTMLParagraphElement);
  const say = (sentence: string): void => {
    error.textContent = sentence;
    error.hidden = sentence === "";
  };
  const known = await tools();
  const canvas = stage();
  const picture = stageShown(canvas, empty);
  const page: Page = {
    tools: known,
    stage: picture,
    say,
    hint: (sentence) => (hint.textContent = sentence),
    empty: (title, explained, tries = []) => {
      byId("empty-title", HTMLParagraphElement).textContent = title;
      byId("empty-words", HTMLParagraphElement).textContent = explained;
      byId("empty-tries", HTMLParagraphElement).replaceChildren(...(tries.length > 0 ? tries : starters()));
    },
    go: (mode) => choose("mode", mode),
    attempt: (deed) => {
      deed().then(
        () => undefined,
        (fault: unknown) => {
          if (gaveUp(fault)) return;
          place.classList.toggle("lost", fault instanceof Refused && fault.message.startsWith("The studio does not answer"));
          say(words(fault));
          if (!(fault instanceof Refused)) throw fault;
        },
      );
    },
  };

  const marking = mark(page);
  const finding = everywhere(page, marking);
  const modes: Record<ModeName, Mode> = {
    mark: marking,
    everywhere: finding,
    drag: pull(page, marking, (kept) => {
      page.go("mark");
      page.attempt(() => bring(kept, "mark"));
    }),
  };
  const current = (): ModeName => (chosen("mode") || "mark") as ModeName;
  let entered: ModeName = "mark";

  function enter(): void {
    modes[entered].leave();
    entered = current();
    byId("touch", HTMLElement).dataset["mode"] = entered;
    for (const each of document.querySelectorAll<HTMLElement>("[data-for]")) each.hidden = !each.dataset["for"]!.split(" ").includes(entered);
    byId("brush-field", HTMLLabelElement).hidden = true;
    say("");
    modes[entered].enter();
  }

  async function bring(kept: Upload, into: ModeName): Promise<void> {
    const image = new Image();
    image.src = uploadAddress(kept.id);
    await image.decode();
    const opened: Opened = { input: { upload: kept.id }, name: kept.name, address: image.src, image, width: kept.width, height: kept.height };
    modes[into].open(opened);
    byId("canvas-box", HTMLDivElement).scrollIntoView({ block: "nearest" });
  }

  /** One picture is opened; of several the first, and the others wait in Everywhere; a film's first frame is opened. */
  async function give(files: File[]): Promise<void> {
    say("");
    const films = files.filter((file) => file.type.startsWith("video/") || FILMS.test(file.name));
    const film = films[0];
    byId("canvas-box", HTMLDivElement).classList.add("busy");
    try {
      if (film) {
        const first = await finding.addFilm(film);
        if (first && (current() !== "everywhere" || !marking.sheet())) {
          page.go("mark");
          await bring(first, "mark");
        }
        return;
      }
      const kept: Upload[] = [];
      for (const file of files.slice(0, 64)) kept.push(await upload(file));
      if (kept.length === 0) return;
      if (current() === "everywhere") return await finding.add(kept, false);
      await bring(kept[0]!, current());
      if (kept.length > 1) await finding.add(kept.slice(1), false);
    } finally {
      byId("canvas-box", HTMLDivElement).classList.remove("busy");
    }
  }

  const emoji = (): void => page.attempt(async () => bring(await scene(Math.floor(Math.random() * 100_000)), current()));
  const file = byId("file", HTMLInputElement);
  const starters = (): HTMLElement[] => [button("Choose a file", () => file.click()), button("A scene of emoji", emoji)];
  wireFiles(give, page);
  byId("choose", HTMLButtonElement).addEventListener("click", () => file.click());
  byId("scene", HTMLButtonElement).addEventListener("click", emoji);
  for (const each of document.querySelectorAll("input[name=mode]")) each.addEventListener("change", enter);
  document.addEventListener("keydown", (event) => {
    const aim = event.target;
    if (event.ctrlKey || event.metaKey) {
      if (event.key.toLowerCase() !== "z" || aim instanceof HTMLInputElement) return;
    } else if (aim instanceof HTMLInputElement && (aim.type === "text" || (aim.type === "range" && event.key !== "Escape"))) return;
    if (aim instanceof HTMLSelectElement || (aim instanceof HTMLButtonElement && event.key === "Enter")) return;
    if (modes[current()].key(event)) event.preventDefault();
  });
  enter();
}

/** The canvas, whose invitation goes away when there is a picture. */
function stageShown(canvas: ReturnType<typeof stage>, empty: HTMLElement): ReturnType<typeof stage> {
  return {
    ...canvas,
    show: (picture, width, height) => {
      empty.hidden = picture !== null;
      canvas.show(picture, width, height);
    },
  };
}

function wireFiles(give: (files: File[]) => Promise<void>, page: Page): void {
  const box = byId("canvas-box", HTMLDivElement);
  const inputs = ["file", "files", "film"].map((id) => byId(id, HTMLInputElement));
  for (const input of inputs) {
    const take = (): void => {
      const files = [...(input.files ?? [])];
      input.value = "";
      if (files.length > 0) page.attempt(() => give(files));
    };
    input.addEventListener("change", take);
    take(); // what was chosen before the page was ready
  }
  byId("add", HTMLButtonElement).addEventListener("click", () => inputs[1]!.click());
  byId("add-film", HTMLButtonElement).addEventListener("click", () => inputs[2]!.click());
  const carries = (event: DragEvent): boolean => event.dataTransfer?.types.includes("Files") ?? false;
  document.addEventListener("dragover", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    box.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) box.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    box.classList.remove("over");
    if (!carries(event)) return;
    event.preventDefault();
    page.attempt(() => give([...(event.dataTransfer?.files ?? [])]));
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length > 0) page.attempt(() => give(files));
  });
}

open().catch((error: unknown) => {
  byId("error", HTMLParagraphElement).textContent = words(error);
  byId("error", HTMLParagraphElement).hidden = false;
  if (!(error instanceof Refused)) throw error;
});
