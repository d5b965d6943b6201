// What makes our programs load quicker; neither changes what they do. Loaded before them, by the launcher and with
// `--require` by the supervisor.
const { lstatSync, mkdirSync } = require('node:fs');
const { join } = require('node:path');
const { enableCompileCache } = require('node:module');

// V8's compiled code of each module, kept from one run to the next: a quarter of the time to load them. Whoever could
// write there would run code of theirs as us, so it is ours alone or not used.
const directory = cacheDirectory(process.env);
if (directory !== undefined && isOursAlone(directory)) {
  // A directory for each version of ours, so that it is known what may go (src/smolmachine/compiled-code.ts).
  enableCompileCache(join(directory, require('../package.json').version));
}

function cacheDirectory({ XDG_CACHE_HOME: cache, HOME: home, NODE_COMPILE_CACHE: chosen }) {
  if (chosen !== undefined) return undefined;
  if (cache !== undefined && cache.startsWith('/')) return join(cache, 'claude-bottle/compiled');
  return home !== undefined && home.startsWith('/') ? join(home, '.cache/claude-bottle/compiled') : undefined;
}

function isOursAlone(path) {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    const found = lstatSync(path);
    return found.isDirectory() && found.uid === process.geteuid() && (found.mode & 0o077) === 0;
  } catch {
    return false;
  }
}
