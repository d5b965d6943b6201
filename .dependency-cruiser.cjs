// The borders of the house: arrows run downwards only. Each layer names what it may reach; everything else is refused.
const layers = {
  commands: [
    'commands',
    'bottles',
    'agents',
    'tar',
    'workspace',
    'definitions',
    'backends',
    'gate',
    'smolmachine',
    'smolvm',
    'engine',
    'oci',
    'terminal',
    'process',
  ],
  bottles: ['bottles', 'agents', 'workspace', 'definitions', 'backends', 'gate', 'engine', 'tar', 'process'],
  backends: ['backends', 'engine', 'smolmachine', 'smolvm', 'tar', 'oci', 'process'],
  agents: ['agents', 'definitions', 'tar', 'process'],
  workspace: ['workspace', 'tar', 'process'],
  tar: ['tar', 'oci', 'process'],
  definitions: ['definitions', 'gate'],
  smolmachine: ['smolmachine', 'smolvm', 'engine', 'oci', 'process'],
  smolvm: ['smolvm', 'oci', 'process'],
  engine: ['engine', 'tar', 'oci', 'process'],
  oci: ['oci', 'process'],
  gate: ['gate', 'process'],
  terminal: ['terminal'],
  process: ['process'],
};

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    { name: 'no-orphans', severity: 'error', from: { orphan: true, pathNot: '\\.d\\.ts$|^bench/' }, to: {} },
    { name: 'nothing-reaches-main', severity: 'error', from: {}, to: { path: '^src/main\\.ts$' } },
    {
      name: 'source-never-reaches-tests',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^(test|bench|script)/' },
    },
    {
      name: 'only-declared-packages',
      severity: 'error',
      from: { path: '^src/' },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown', 'unknown', 'undetermined'] },
    },
    ...Object.entries(layers).map(([layer, reachable]) => ({
      name: `${layer}-looks-down`,
      severity: 'error',
      from: { path: `^src/${layer}/` },
      to: { path: '^src/', pathNot: `^src/(${reachable.join('|')})/|^src/(failure|schema|version)\\.ts$` },
    })),
    {
      name: 'child-processes-through-one-wrapper',
      comment: 'Only src/process starts programs.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/process/' },
      to: { path: '^(node:)?child_process$' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { extensions: ['.ts', '.js'] },
  },
};
