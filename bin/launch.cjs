// Plain old JavaScript, so that a Node of any age gets as far as the sentence below.
const major = Number(process.versions.node.split('.')[0]);
if (major < 24) {
  console.error(
    `claude-bottle needs Node.js 24 or newer; ${process.execPath} is ${process.version}. In a checkout, script/bootstrap fetches it.`,
  );
  process.exit(3);
}
const argv = process.argv.slice(2);
if (argv.length === 1 && (argv[0] === '--version' || argv[0] === '-V')) {
  // Asked by scripts and prompts, which should wait for Node and nothing else.
  console.log(require('../package.json').version);
} else {
  require('./modules.cjs');
  const { existsSync } = require('node:fs');
  const { join } = require('node:path');
  // A checkout runs its sources; the published package holds only what was built from them.
  const source = join(__dirname, '../src/main.ts');
  import(existsSync(source) ? source : join(__dirname, '../dist/main.js')).then((main) => main.main(argv));
}
