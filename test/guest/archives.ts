export interface EntryFields {
  readonly name: string;
  readonly link?: string;
  readonly data?: Buffer | string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** What the header says instead of the size of the data. */
  readonly size?: number;
}

/** One entry of a ustar archive, also such as no tar would write. */
export function tarEntry(fields: EntryFields, type = '0'): Buffer {
  const data = Buffer.from(fields.data ?? '');
  const header = Buffer.alloc(512);
  const octal = (at: number, size: number, value: number) =>
    header.write(value.toString(8).padStart(size - 1, '0'), at, 'latin1');
  header.write(fields.name, 0, 100);
  octal(100, 8, fields.mode ?? 0o644);
  octal(108, 8, fields.uid ?? 0);
  octal(116, 8, fields.gid ?? 0);
  octal(124, 12, fields.size ?? data.length);
  octal(136, 12, 1_700_000_000);
  header.write(type, 156, 'latin1');
  header.write(fields.link ?? '', 157, 100);
  header.write('ustar\u000000', 257, 'latin1');
  header.fill(' ', 148, 156);
  octal(
    148,
    7,
    header.reduce((sum, byte) => sum + byte, 0),
  );
  return Buffer.concat([header, data, Buffer.alloc((512 - (data.length % 512)) % 512)]);
}

/** A record of pax, which counts its own length. */
export function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = Buffer.byteLength(rest) + 1;
  while (Buffer.byteLength(rest) + String(length).length !== length) length += 1;
  return `${length}${rest}`;
}

export const tarEnd = Buffer.alloc(1024);
