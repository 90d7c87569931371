// Masks in the browser: COCO's text of run lengths, pictures of masks, and their outlines.

/** One byte a pixel, row by row: 1 inside. */
export interface Mask {
  width: number;
  height: number;
  inside: Uint8Array;
}

export const blank = (width: number, height: number): Mask => ({ width, height, inside: new Uint8Array(width * height) });

/** Reads COCO's text: runs go column by column, and from the fourth on each is told by its change. */
export function decode(text: string, width: number, height: number): Mask {
  const mask = blank(width, height);
  const counts: number[] = [];
  for (let at = 0; at < text.length; ) {
    let [value, shift, more] = [0, 0, true];
    while (more) {
      const code = text.charCodeAt(at++) - 48;
      value |= (code & 31) << shift;
      shift += 5;
      more = (code & 32) !== 0;
      if (!more && code & 16) value |= -1 << shift;
    }
    counts.push(counts.length > 2 ? value + counts[counts.length - 2]! : value);
  }
  let place = 0;
  counts.forEach((count, index) => {
    if (index % 2 === 1) for (let i = place; i < place + count; i++) mask.inside[(i % height) * width + Math.floor(i / height)] = 1;
    place += count;
  });
  return mask;
}

export function encode(mask: Mask): string {
  const counts: number[] = [];
  let [now, run] = [0, 0];
  for (let column = 0; column < mask.width; column++) {
    for (let row = 0; row < mask.height; row++) {
      const inside = mask.inside[row * mask.width + column]!;
      if (inside !== now) {
        counts.push(run);
        [now, run] = [inside, 0];
      }
      run++;
    }
  }
  counts.push(run);
  let text = "";
  counts.forEach((count, index) => {
    let value = index > 2 ? count - counts[index - 2]! : count;
    for (let more = true; more; ) {
      const bits = value & 31;
      value >>= 5;
      more = bits & 16 ? value !== -1 : value !== 0;
      text += String.fromCharCode(bits + 48 + (more ? 32 : 0));
    }
  });
  return text;
}

/** A canvas of the mask's size, in one colour where it is. */
export function coloured(mask: Mask, [red, green, blue]: readonly [number, number, number], alpha: number): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = mask.width;
  canvas.height = mask.height;
  const pixels = new ImageData(mask.width, mask.height);
  for (let i = 0; i < mask.inside.length; i++) if (mask.inside[i]) pixels.data.set([red, green, blue, alpha * 255], 4 * i);
  canvas.getContext("2d")!.putImageData(pixels, 0, 0);
  return canvas;
}

/** The border between inside and outside, in pixels of the picture: sharp at any size. */
export function outline(mask: Mask): Path2D {
  const path = new Path2D();
  const { width, height, inside } = mask;
  const at = (row: number, column: number): number => (row >= 0 && row < height && column >= 0 && column < width ? inside[row * width + column]! : 0);
  for (let row = 0; row <= height; row++) {
    for (let column = 0, start = -1; column <= width; column++) {
      const edge = column < width && at(row, column) !== at(row - 1, column);
      if (edge && start < 0) start = column;
      if (!edge && start >= 0) {
        path.moveTo(start, row);
        path.lineTo(column, row);
        start = -1;
      }
    }
  }
  for (let column = 0; column <= width; column++) {
    for (let row = 0, start = -1; row <= height; row++) {
      const edge = row < height && at(row, column) !== at(row, column - 1);
      if (edge && start < 0) start = row;
      if (!edge && start >= 0) {
        path.moveTo(column, start);
        path.lineTo(column, row);
        start = -1;
      }
    }
  }
  return path;
}

/** What a brush painted on a canvas of the mask's size. */
export function painted(canvas: HTMLCanvasElement): Mask {
  const mask = blank(canvas.width, canvas.height);
  const { data } = canvas.getContext("2d", { willReadFrequently: true })!.getImageData(0, 0, canvas.width, canvas.height);
  for (let i = 0; i < mask.inside.length; i++) mask.inside[i] = data[4 * i + 3]! > 127 ? 1 : 0;
  return mask;
}
