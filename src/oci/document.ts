/** Bytes from the start that tell a document from a layer; fewer where there are no more. */
export const headSize = 512;

const openingBrace = 0x7b;
const openingBracket = 0x5b;

/**
 * Whether what begins like this is a JSON document and no layer. The first file of a plain layer may be named `{` or `[`,
 * but a tar header, one block of 512 bytes, has NULs in it, and JSON has none (RFC 8259 §7).
 */
export function looksLikeDocument(head: Uint8Array): boolean {
  const opens = head[0] === openingBrace || head[0] === openingBracket;
  return opens && !head.subarray(0, headSize).includes(0);
}
