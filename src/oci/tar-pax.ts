import { TarMalformed } from './errors.ts';

/** One record of a pax extended header. Both halves are byte strings (latin1), so nothing is lost. */
export interface PaxRecord {
  readonly key: string;
  readonly value: string;
}

/**
 * Reads the records of a pax extended header (POSIX.1-2017, pax, "pax Header Block": `<length> <key>=<value>\n`).
 * @param offset where the data lies in the archive, for the failure.
 * @throws TarMalformed
 */
export function parsePaxRecords(data: Buffer, offset: number): PaxRecord[] {
  const records: PaxRecord[] = [];
  let at = 0;
  while (at < data.length) {
    const space = data.indexOf(0x20, at);
    const digits = space === -1 ? '' : data.toString('latin1', at, space);
    const end = at + Number(digits);
    const equals = data.indexOf(0x3d, space);
    const fits = /^[0-9]{1,10}$/.test(digits) && end <= data.length && equals > space + 1 && equals < end;
    if (!fits || data[end - 1] !== 0x0a) {
      throw new TarMalformed({ reason: 'bad pax record', offset: offset + at });
    }
    records.push({
      key: data.toString('latin1', space + 1, equals),
      value: data.toString('latin1', equals + 1, end - 1),
    });
    at = end;
  }
  return records;
}

/** Writes one record; its length counts itself. */
export function formatPaxRecord({ key, value }: PaxRecord): string {
  const rest = key.length + value.length + 3;
  let length = rest + String(rest).length;
  length = rest + String(length).length;
  return `${length} ${key}=${value}\n`;
}
