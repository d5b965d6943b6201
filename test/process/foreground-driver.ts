// Runs a program in front, as JSON in the first argument says, and prints how it ended.
import { type ForegroundProgram, runForeground } from '../../src/process/foreground.ts';

const program = JSON.parse(process.argv[2] ?? '') as ForegroundProgram;
const { code } = await runForeground(program);
process.stdout.write(`\ncode ${code}\n`);
