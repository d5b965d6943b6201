import { createCipheriv } from 'node:crypto';
import { closeSync, openSync, writevSync } from 'node:fs';

const mib = 1024 * 1024;
const poolBytes = 16 * mib;
const blockBytes = 512;

/** What is in a layer, before scaling: many small files, and large ones by kind and size in MiB. */
interface LayerPlan {
  readonly small: number;
  readonly large: readonly (readonly ['text' | 'random', number])[];
}

/** Eight layers: 44,000 small files of 9 KiB on average, 190 MiB of large compressible and 94 MiB of random files. */
export const layerPlans: readonly LayerPlan[] = [
  {
    small: 9_000,
    large: [
      ['text', 40],
      ['random', 10],
    ],
  },
  { small: 4_000, large: [['text', 60]] },
  { small: 12_000, large: [] },
  {
    small: 0,
    large: [
      ['random', 40],
      ['text', 30],
    ],
  },
  { small: 8_000, large: [['text', 20]] },
  { small: 7_000, large: [] },
  {
    small: 0,
    large: [
      ['random', 30],
      ['text', 40],
    ],
  },
  { small: 4_000, large: [['random', 14]] },
];

/** Writes layers as tar files. The same bytes on every machine and in every run. */
export class ContentWriter {
  readonly #text = textPool();
  readonly #random = randomPool();
  #seed = 1;

  /** @returns bytes of the tar. */
  write(path: string, name: string, plan: LayerPlan, scale: number): number {
    const tar = new TarFile(path);
    const root = `opt/${name}`;
    tar.directory('opt');
    tar.directory(root);
    const small = Math.round(plan.small * scale);
    for (let at = 0; at < small; at++) {
      const directory = `${root}/d${Math.floor(at / 40)}`;
      if (at % 40 === 0) tar.directory(directory);
      // Exponentially distributed, as source trees about are.
      const size = Math.min(200 * 1024, Math.floor(-Math.log(1 - this.#next()) * 9 * 1024));
      tar.file(`${directory}/f${at}.txt`, [this.#slice(this.#text, size)]);
    }
    for (const [at, [kind, size]] of plan.large.entries()) {
      const pool = kind === 'text' ? this.#text : this.#random;
      const pieces = Array.from({ length: Math.max(1, Math.round(size * scale)) }, () =>
        this.#slice(pool, mib),
      );
      tar.file(`${root}/large-${at}.${kind}`, pieces);
    }
    return tar.end();
  }

  #slice(pool: Buffer, size: number): Buffer {
    const from = Math.floor(this.#next() * (pool.length - size));
    return pool.subarray(from, from + size);
  }

  #next(): number {
    this.#seed = step(this.#seed);
    return fraction(this.#seed);
  }
}

/** mulberry32's step and output, a public-domain generator: good enough to pick words and sizes. */
function step(seed: number): number {
  return (seed + 0x6d2b79f5) | 0;
}

function fraction(seed: number): number {
  let word = Math.imul(seed ^ (seed >>> 15), seed | 1);
  word ^= word + Math.imul(word ^ (word >>> 7), word | 61);
  return ((word ^ (word >>> 14)) >>> 0) / 2 ** 32;
}

function randomPool(): Buffer {
  return createCipheriv('aes-128-ctr', Buffer.alloc(16, 7), Buffer.alloc(16)).update(Buffer.alloc(poolBytes));
}

/** Lines of made-up words, some frequent and most rare, which deflate shrinks to about 0.4. */
function textPool(): Buffer {
  let seed = 42;
  const next = () => fraction((seed = step(seed)));
  const words = Array.from({ length: 16_384 }, () =>
    Array.from({ length: 2 + Math.floor(next() * 9) }, () =>
      String.fromCharCode(97 + Math.floor(next() * 26)),
    ).join(''),
  );
  const pool = Buffer.alloc(poolBytes, 0x0a);
  for (let at = 0; at < pool.length;) {
    const word = words[Math.floor(next() ** 2 * words.length)] ?? '';
    at += pool.write(next() < 0.12 ? `${word}\n` : `${word} `, at, 'latin1');
  }
  return pool;
}

/** A ustar file, written in large pieces. */
class TarFile {
  readonly #file: number;
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  #total = 0;

  constructor(path: string) {
    this.#file = openSync(path, 'w');
  }

  directory(path: string): void {
    this.#push(header(`${path}/`, 0, '5', 0o755));
  }

  file(path: string, pieces: readonly Buffer[]): void {
    const size = pieces.reduce((sum, piece) => sum + piece.length, 0);
    this.#push(header(path, size, '0', 0o644), ...pieces);
    const padding = (blockBytes - (size % blockBytes)) % blockBytes;
    if (padding > 0) this.#push(Buffer.alloc(padding));
  }

  end(): number {
    this.#push(Buffer.alloc(2 * blockBytes));
    this.#flush();
    closeSync(this.#file);
    return this.#total;
  }

  #push(...pieces: readonly Buffer[]): void {
    for (const piece of pieces) {
      if (piece.length === 0) continue;
      this.#pending.push(piece);
      this.#pendingBytes += piece.length;
      if (this.#pending.length >= 512 || this.#pendingBytes >= 8 * mib) this.#flush();
    }
  }

  #flush(): void {
    while (this.#pending.length > 0) {
      let written = writevSync(this.#file, this.#pending);
      this.#total += written;
      while (written > 0) {
        const first = this.#pending[0] ?? Buffer.alloc(0);
        if (written < first.length) {
          this.#pending[0] = first.subarray(written);
          break;
        }
        written -= first.length;
        this.#pending.shift();
      }
    }
    this.#pendingBytes = 0;
  }
}

function header(path: string, size: number, type: '0' | '5', mode: number): Buffer {
  const block = Buffer.alloc(blockBytes);
  const octal = (value: number, width: number) => `${value.toString(8).padStart(width - 1, '0')}\0`;
  block.write(path, 0, 100, 'latin1');
  block.write(octal(mode, 8), 100, 'latin1');
  block.write(octal(0, 8), 108, 'latin1');
  block.write(octal(0, 8), 116, 'latin1');
  block.write(octal(size, 12), 124, 'latin1');
  block.write(octal(1_700_000_000, 12), 136, 'latin1');
  block.write('        ', 148, 'latin1');
  block.write(type, 156, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}
