// Pictures that a person gives: dropped anywhere, chosen as files, pasted, or taken from the gallery.

import { type Input, Refused, upload, uploadAddress } from "./api";
import { button, byId, make } from "./dom";

interface Given {
  input: Input;
  name: string;
  address: string;
}

export interface Pictures {
  inputs: () => Input[];
  use: (input: Input, name: string, address: string) => void;
  show: (shown: boolean) => void;
}

const MOST = 16;

export function pictures(onChange: (count: number) => void, onError: (sentence: string) => void): Pictures {
  const [zone, list] = [byId("drop", HTMLDivElement), byId("thumbs", HTMLUListElement)];
  const [file, field] = [byId("file", HTMLInputElement), byId("drop-field", HTMLDivElement)];
  let given: Given[] = [];

  function show(): void {
    list.replaceChildren(
      ...given.map((each) =>
        make(
          "li",
          {},
          make("img", { src: each.address, alt: each.name }),
          button("×", () => drop(each), { "aria-label": `Take away ${each.name}`, class: "thumb-away" }),
        ),
      ),
    );
    zone.classList.toggle("filled", given.length > 0);
    onChange(given.length);
  }

  function drop(one: Given): void {
    given = given.filter((each) => each !== one);
    show();
  }

  async function take(files: Iterable<File>): Promise<void> {
    const chosen = [...files].slice(0, MOST);
    if (chosen.length === 0) return;
    zone.classList.add("busy");
    try {
      const uploads = await Promise.all(chosen.map(upload));
      given = uploads.map((each) => ({ input: { upload: each.id }, name: each.name, address: uploadAddress(each.id) }));
      onError("");
    } catch (error) {
      onError(error instanceof Refused ? error.message : "This file could not be read.");
    } finally {
      zone.classList.remove("busy");
      show();
    }
  }

  byId("choose", HTMLButtonElement).addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    void take(file.files ?? []);
    file.value = "";
  });
  const carriesFiles = (event: DragEvent): boolean => event.dataTransfer?.types.includes("Files") ?? false;
  document.addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    zone.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) zone.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    zone.classList.remove("over");
    if (!carriesFiles(event)) return;
    event.preventDefault();
    void take(event.dataTransfer?.files ?? []);
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length > 0) void take(files);
  });

  return {
    inputs: () => given.map((each) => each.input),
    use: (input, name, address) => {
      given = [{ input, name, address }];
      show();
    },
    show: (shown) => (field.hidden = !shown),
  };
}
