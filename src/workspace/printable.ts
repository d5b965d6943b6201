const shownLength = 300;
/** Controls, and what reorders or hides text: bidirectional controls, zero-width characters, line separators, surrogates. */
const hidden = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu;

/**
 * Text from a bottle as one line that is safe to print: whatever controls a terminal or reorders what is read is
 * written as an escape, and the length is bounded.
 */
export function printable(text: string, length = shownLength): string {
  const shown = text.length > length ? `${text.slice(0, length)}…` : text;
  return shown.replace(hidden, (one) => {
    const code = one.codePointAt(0) ?? 0;
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
  });
}

/** A path that git or a tar archive gave as bytes, as one safe line. Bytes that are no UTF-8 are escaped. */
export function printablePath(bytes: string): string {
  const buffer = Buffer.from(bytes, 'latin1');
  const text = buffer.toString('utf8');
  return printable(
    Buffer.from(text, 'utf8').equals(buffer) ? text : bytes.replace(/[\x80-\xff]/g, escapeByte),
  );
}

function escapeByte(one: string): string {
  return `\\x${one.charCodeAt(0).toString(16)}`;
}
