// A coding agent in miniature: makes a repository, writes a file, commits it and says what it did.
const { execFileSync } = require('node:child_process');
const { mkdtempSync, writeFileSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');

const folder = mkdtempSync(join(tmpdir(), 'work-'));
const git = (...args) => execFileSync('git', args, { cwd: folder, encoding: 'utf8' }).trim();

git('init', '-q', '-b', 'main');
writeFileSync(join(folder, 'hello.txt'), 'Hello from inside.\n');
git('add', 'hello.txt');
git('commit', '-q', '-m', 'Say hello');
console.log(`${process.version} as uid ${process.getuid()}: ${git('log', '--oneline')}`);
