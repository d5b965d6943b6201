/** Frames of a session's standard input, as docs/bottle-init.md has them. */
export function frame(type: string, payload: Buffer | string = ''): Buffer {
  const bytes = Buffer.from(payload);
  const header = Buffer.alloc(5);
  header.write(type, 'latin1');
  header.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([header, bytes]);
}

/** Data in frames of at most so many bytes. */
export function dataFrames(data: Buffer | string, most = 65_536): Buffer {
  const bytes = Buffer.from(data);
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += most) pieces.push(frame('d', bytes.subarray(at, at + most)));
  return Buffer.concat(pieces);
}

export function sizeFrame(rows: number, columns: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt16BE(rows, 0);
  payload.writeUInt16BE(columns, 2);
  return frame('w', payload);
}

export function signalFrame(number: number): Buffer {
  return frame('s', Buffer.from([number]));
}

export const endFrame = frame('e');
