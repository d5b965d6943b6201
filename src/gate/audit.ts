import { closeSync, fstatSync, openSync, renameSync, writeSync } from 'node:fs';
import { AuditUnwritable } from './errors.ts';

/**
 * One line of `gate.jsonl`. Never a query, a user name, a header or a body: those may hold secrets. It is read back by
 * `audit-reader.ts`, so that who only writes need not load a schema.
 */
export interface AuditRecord {
  /** ISO 8601, UTC: when the request came. */
  readonly time: string;
  readonly slug: string;
  /** `open` and `close` frame a tunnel; everything else is one line, `request`. `policy`: somebody changed the rules. */
  readonly event: 'request' | 'open' | 'close' | 'policy' | 'seal';
  /** `fail`: allowed, but the host could not be reached. */
  readonly decision: 'allow' | 'deny' | 'fail';
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  readonly method?: string | undefined;
  /** Without the query; shortened to 1024 characters. */
  readonly path?: string | undefined;
  /** The rule that decided, and where it stands. */
  readonly rule?: string | undefined;
  readonly origin?: string | undefined;
  /** Of a refusal, a failure or a cut. */
  readonly reason?: string | undefined;
  readonly status?: number | undefined;
  /** What was dialled. */
  readonly address?: string | undefined;
  /** Bytes of bodies or tunnels, to the bottle and from it. */
  readonly in: number;
  readonly out: number;
  readonly ms: number;
}

export interface AuditOptions {
  /** `<state>/gate.jsonl`. Older ones are beside it, `.1` the youngest. */
  readonly path: string;
  /** A file that has grown to this is put aside. Default 16 MiB. */
  readonly maxBytes?: number;
  /** So many files are kept, the current one included; at least 2. Default 4. */
  readonly keep?: number;
}

const maxText = 1024;

/**
 * The append-only record of what the gate decided. Lines are written together, at the end of the turn of the event loop
 * in which they came. The first error is final: `onFailure` is called once, and the gate must close.
 */
export class AuditLog implements Disposable {
  readonly #options: Required<AuditOptions>;
  readonly #onFailure: (failure: AuditUnwritable) => void;
  #fd: number | undefined;
  #bytes = 0;
  #lines: string[] = [];
  #flush: NodeJS.Immediate | undefined;

  /** @throws AuditUnwritable */
  constructor(options: AuditOptions, onFailure: (failure: AuditUnwritable) => void) {
    this.#options = { maxBytes: 16 << 20, keep: 4, ...options };
    this.#onFailure = onFailure;
    try {
      this.#open();
    } catch (error) {
      throw this.#failure(error);
    }
  }

  record(record: AuditRecord): void {
    if (this.#fd === undefined) return;
    this.#lines.push(formatRecord(record));
    this.#flush ??= setImmediate(() => this.#write());
  }

  /** Writes what is waiting, now. */
  flush(): void {
    if (this.#flush !== undefined) clearImmediate(this.#flush);
    this.#write();
  }

  [Symbol.dispose](): void {
    this.flush();
    this.#close();
  }

  #write(): void {
    this.#flush = undefined;
    if (this.#fd === undefined || this.#lines.length === 0) return;
    const bytes = Buffer.from(this.#lines.join(''));
    this.#lines = [];
    try {
      if (this.#bytes > 0 && this.#bytes + bytes.length > this.#options.maxBytes) this.#rotate();
      for (let at = 0; at < bytes.length;) at += writeSync(this.#fd, bytes, at);
      this.#bytes += bytes.length;
    } catch (error) {
      this.#close();
      this.#onFailure(this.#failure(error));
    }
  }

  #open(): number {
    const fd = openSync(this.#options.path, 'a', 0o600);
    this.#fd = fd;
    this.#bytes = fstatSync(fd).size;
    return fd;
  }

  #rotate(): void {
    const { path, keep } = this.#options;
    this.#close();
    for (let age = Math.max(keep, 2) - 1; age >= 1; age -= 1) {
      renameIfThere(age === 1 ? path : `${path}.${age - 1}`, `${path}.${age}`);
    }
    this.#open();
  }

  #close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  #failure(error: unknown): AuditUnwritable {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
    return new AuditUnwritable({ path: this.#options.path, code }, { cause: error });
  }
}

/** One line of pure ASCII without control characters, whatever the names in it are. */
export function formatRecord(record: AuditRecord): string {
  const json = JSON.stringify(record, (_, value: unknown) =>
    typeof value === 'string' && value.length > maxText ? `${value.slice(0, maxText)}...` : value,
  );
  const ascii = json.replace(
    /[^\x20-\x7e]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  return `${ascii}\n`;
}

function renameIfThere(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}
