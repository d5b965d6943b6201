import { execFile } from 'node:child_process';
import { closeSync, constants, openSync, unlinkSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';

const { O_RDONLY, O_WRONLY, O_RDWR, O_NONBLOCK } = constants;
const batch = 24;

/** One pipe: the child's end, to be closed once the child has it, and ours. */
export interface Pipe {
  readonly theirs: number;
  readonly ours: Socket;
}

/**
 * True pipes for commands in the guest. Node gives its children sockets, and a program that opens `/dev/stdin` or
 * `/dev/stdout` again fails on these. Pipes with names are made ahead, several at once, and lose the name when they are used.
 */
export class Pipes {
  readonly #directory: string;
  #names: string[] = [];
  #made = 0;
  #making: Promise<void> | undefined;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** A pipe that the child reads. */
  async toChild(): Promise<Pipe> {
    return this.#use((path) => {
      // Opening one end alone waits for the other.
      const both = openSync(path, O_RDWR | O_NONBLOCK);
      const theirs = openSync(path, O_RDONLY);
      const fd = openSync(path, O_WRONLY | O_NONBLOCK);
      closeSync(both);
      return { theirs, ours: new Socket({ fd, readable: false, writable: true }) };
    });
  }

  /** A pipe that the child writes. */
  async fromChild(): Promise<Pipe> {
    return this.#use((path) => {
      const fd = openSync(path, O_RDONLY | O_NONBLOCK);
      const theirs = openSync(path, O_WRONLY);
      return { theirs, ours: new Socket({ fd, readable: true, writable: false }) };
    });
  }

  /** Makes sure that there are some in store. */
  async refill(): Promise<void> {
    this.#making ??= this.#make().finally(() => {
      this.#making = undefined;
    });
    await this.#making;
  }

  async #use(open: (path: string) => Pipe): Promise<Pipe> {
    while (this.#names.length === 0) await this.refill();
    const path = this.#names.pop() ?? '';
    if (this.#names.length < batch / 2) void this.refill();
    try {
      return open(path);
    } finally {
      unlinkSync(path);
    }
  }

  async #make(): Promise<void> {
    const paths = Array.from({ length: batch }, () => {
      this.#made += 1;
      return join(this.#directory, `pipe-${this.#made}`);
    });
    await promisify(execFile)('mkfifo', paths);
    this.#names = [...paths, ...this.#names];
  }
}
