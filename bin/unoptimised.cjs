// Loaded before all else of a supervisor. While our modules load nothing is hot but Node's own loader, which then rests.
// V8's optimising compilers would work on it, and what they touch stays in memory as long as the bottle lives: 9 MB.
// src/bottles/supervise.ts lets them loose. No flags of the command line: Node does not start with one it does not know.
const { setFlagsFromString } = require('node:v8');

setFlagsFromString('--no-opt');
setFlagsFromString('--no-maglev');
