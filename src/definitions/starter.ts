/** What a starting pair is made for. */
export interface Starter {
  readonly name: string;
  readonly template: string;
  readonly presets: readonly string[];
  /** As it is written: relative is below whatever repository is worked on. Without it: the template's own image. */
  readonly dockerfile?: string;
}

export interface StarterFile {
  /** Below the home directory. */
  readonly path: string;
  readonly text: string;
}

/** An agent and its bottle to start from: what is set, and in comments what could be. */
export function starterFiles(starter: Starter): readonly StarterFile[] {
  return [
    { path: `.claude-bottle/agents/${starter.name}.md`, text: agentText(starter) },
    { path: `.claude-bottle/bottles/${starter.name}.md`, text: bottleText(starter) },
  ];
}

function agentText({ name, template }: Starter): string {
  return `---
# An agent: what runs. What it is told stands below the second line of dashes.
template: ${template}
bottle: ${name}

# Directories below your skills that are copied in:
#skills: [review]

# Who its commits are by:
#git-gate:
#  user:
#    name: Your Name
#    email: you@example.com
---
You work in a disposable bottle on a copy of the repository. Commit what you want to keep: commits come out as a branch,
everything else is gone at the end. The network is closed but for a few hosts. A refusal says which rule it was and
what the user can do about it; it is policy and not an outage, so do not try to get around it.
`;
}

function bottleText({ presets, dockerfile }: Starter): string {
  return `---
# A bottle: where it runs. What is not allowed here is refused.
egress:
  presets: [${presets.join(', ')}]
  # Hosts of your own, open for http and https, or for one port:
  #allow:
  #  - docs.example.com
  #  - "*.example.com:443"
  #deny:
  #  - admin.example.com

${dockerfile === undefined ? "# Its image: the template's own, unless it is built from a Dockerfile of yours.\n#image:\n#  dockerfile: Dockerfile" : `# Its image. A relative path starts at the repository that is worked on.\nimage:\n  dockerfile: ${quoted(dockerfile)}`}

# Variables: as they stand here, from your own environment at the start, asked for at the start.
#env:
#  EDITOR: vi
#  API_TOKEN: \${API_TOKEN}
#  PASSPHRASE: "?"

#resources:
#  cpus: 2
#  memory: 4G
#  pids: 512
#  disk: 10G
---
Notes on this bottle. Nobody reads them but people.
`;
}

/** A text that YAML reads as just this text. JSON's strings are YAML's too. */
function quoted(text: string): string {
  return /^[A-Za-z./_][A-Za-z0-9./_-]*$/.test(text) ? text : JSON.stringify(text);
}
