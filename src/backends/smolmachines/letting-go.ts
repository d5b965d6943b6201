import { letGo } from '../backend.ts';

/** What the key sends: Ctrl and a character between @ and _ send that character less 64 (ECMA-48, C0). */
const keyByte = letGo.key.charCodeAt(letGo.key.length - 1) & 0x1f;

/** Watches what is typed for the keys that let go of a bottle. */
export class LettingGo {
  #pressed = 0;

  /**
   * What of these bytes is the command's. Keys that may become the sequence are held back until another one comes, and
   * then go through with it. `undefined`: the sequence is whole.
   */
  push(bytes: Buffer): Buffer | undefined {
    const through: number[] = [];
    for (const byte of bytes) {
      if (byte === keyByte) {
        this.#pressed += 1;
        if (this.#pressed === letGo.times) return undefined;
        continue;
      }
      for (; this.#pressed > 0; this.#pressed--) through.push(keyByte);
      through.push(byte);
    }
    return Buffer.from(through);
  }
}
