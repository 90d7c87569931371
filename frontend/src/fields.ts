// Fields of a form, made from the description of a request.

import type { Field, Value } from "./api";
import { make } from "./dom";

export interface Control {
  field: Field;
  element: HTMLElement;
  read: () => Value;
  write: (value: Value) => void;
}

const words = (name: string): string => {
  const text = name.replaceAll("_", " ");
  return text.slice(0, 1).toUpperCase() + text.slice(1);
};

function labelled(field: Field, input: HTMLElement): HTMLElement {
  const label = make("label", { class: `field field-${field.kind}`, title: field.help }, make("span", {}, words(field.name)));
  label.append(input);
  return label;
}

function number(field: Field): Control {
  const whole = field.kind === "whole";
  const input = make("input", { type: "number", name: field.name, step: whole ? 1 : "any", inputmode: whole ? "numeric" : "decimal" });
  if (!field.optional) input.required = true;
  if (field.largest !== null) input.max = String(field.largest);
  if (field.name !== "seed") input.min = whole && field.largest !== null ? "1" : "0";
  return {
    field,
    element: labelled(field, input),
    read: () => (input.value === "" ? null : Number(input.value)),
    write: (value) => (input.value = value === null ? "" : String(value)),
  };
}

function text(field: Field): Control {
  const input = make("input", { type: "text", name: field.name });
  return {
    field,
    element: labelled(field, input),
    read: () => (input.value === "" && field.optional ? null : input.value),
    write: (value) => (input.value = value === null ? "" : String(value)),
  };
}

function toggle(field: Field): Control {
  const input = make("input", { type: "checkbox", name: field.name });
  return {
    field,
    element: labelled(field, input),
    read: () => input.checked,
    write: (value) => (input.checked = value === true),
  };
}

function choice(field: Field): Control {
  const select = make("select", { name: field.name });
  if (field.optional) select.append(make("option", { value: "" }, "as usual"));
  for (const each of field.choices) select.append(make("option", { value: each.value }, each.label));
  return {
    field,
    element: labelled(field, select),
    read: () => (select.value === "" && field.optional ? null : select.value),
    write: (value) => (select.value = value === null ? "" : String(value)),
  };
}

const MAKERS = { whole: number, number, text, switch: toggle, choice } as const;

export function control(field: Field): Control | null {
  if (field.kind === "inputs" || field.kind === "picture") return null;
  const made = MAKERS[field.kind](field);
  made.write(field.default);
  return made;
}
