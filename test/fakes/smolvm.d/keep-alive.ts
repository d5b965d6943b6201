import { writeFileSync } from 'node:fs';

/** wait4(-1) until there is no child, poll for 200 ms, again. */
const x64 = Buffer.from(
  'bfffffffff' +
    '31f6' +
    '31d2' +
    '4531d2' +
    'b83d000000' +
    '0f05' +
    '85c0' +
    '79e9' + //
    '31ff' +
    '31f6' +
    'bac8000000' +
    'b807000000' +
    '0f05' +
    'ebd7',
  'hex',
);

const arm64 = words(
  [0x92800000, 0xd2800001, 0xd2800002, 0xd2800003, 0xd2802088, 0xd4000001, 0xb6ffff40],
  // nanosleep of the time that follows the code.
  [0x100000a0, 0xd2800001, 0xd2800ca8, 0xd4000001, 0x17fffff5, 0, 0, 200_000_000, 0],
);

/**
 * Writes the program that keeps a container without a workload alive and reaps: what smolvm's agent, a static program, does
 * as `/run/smolvm/init container-init`. It must need nothing of the image, so it is a bare ELF file.
 */
export function writeKeepAlive(path: string): void {
  const isArm = process.arch === 'arm64';
  const code = isArm ? arm64 : x64;
  const base = 0x400000;
  const head = 120;
  const elf = Buffer.alloc(head + code.length);
  elf.write('7f454c46020101', 0, 'hex');
  elf.writeUInt16LE(2, 16);
  elf.writeUInt16LE(isArm ? 183 : 62, 18);
  elf.writeUInt32LE(1, 20);
  elf.writeBigUInt64LE(BigInt(base + head), 24);
  elf.writeBigUInt64LE(64n, 32);
  for (const [value, at] of [
    [64, 52],
    [56, 54],
    [1, 56],
  ] as const)
    elf.writeUInt16LE(value, at);
  elf.writeUInt32LE(1, 64);
  elf.writeUInt32LE(5, 68);
  elf.writeBigUInt64LE(BigInt(base), 80);
  elf.writeBigUInt64LE(BigInt(base), 88);
  elf.writeBigUInt64LE(BigInt(elf.length), 96);
  elf.writeBigUInt64LE(BigInt(elf.length), 104);
  elf.writeBigUInt64LE(0x1000n, 112);
  code.copy(elf, head);
  writeFileSync(path, elf, { mode: 0o755 });
}

function words(...lists: number[][]): Buffer {
  const all = lists.flat();
  const bytes = Buffer.alloc(all.length * 4);
  all.forEach((word, at) => bytes.writeUInt32LE(word >>> 0, at * 4));
  return bytes;
}
