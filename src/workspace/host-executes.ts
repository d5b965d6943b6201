import { printablePath } from './printable.ts';

/** A changed path that programs on the host run once the branch is trusted. */
export interface HostExecution {
  /** Printable. */
  readonly path: string;
  /** 1: runs by itself, or on something as ordinary as a commit or entering a directory. 2: runs when the user starts something. */
  readonly tier: 1 | 2;
  readonly reason: string;
}

/**
 * Paths in lower case, because that is how some file systems compare them. `name/` stands for everything below a
 * directory of that name; `*` for anything within one part. All of them count at any depth.
 */
interface Row {
  readonly tier: 1 | 2;
  readonly reason: string;
  readonly paths: string;
}

/**
 * Sources: each tool's own documentation of what it loads. The line between the tiers is whether somebody who only checks
 * the branch out, changes into the directory, opens it in an editor, or commits, has run it.
 */
const rows: readonly Row[] = [
  // Tier 1: on git's own operations, on entering the directory, on opening it.
  { tier: 1, reason: 'git hooks', paths: '.git/ .githooks/ githooks/ .hooks/ git-hooks/' },
  { tier: 1, reason: 'husky runs it on git operations', paths: '.husky/ .huskyrc .huskyrc.*' },
  {
    tier: 1,
    reason: 'pre-commit runs it on git operations',
    paths: '.pre-commit-config.yaml .pre-commit-hooks.yaml',
  },
  {
    tier: 1,
    reason: 'a hook manager runs it on git operations',
    paths:
      'lefthook.yml lefthook.yaml .lefthook.yml .lefthook.yaml lefthook.toml lefthook.json .lefthook/ lefthook-local.yml .overcommit.yml .lintstagedrc .lintstagedrc.* lint-staged.config.* simple-git-hooks.* .simple-git-hooks.*',
  },
  { tier: 1, reason: 'direnv runs it on entering the directory', paths: '.envrc' },
  {
    tier: 1,
    reason: 'mise or asdf may run it on entering the directory',
    paths: '.mise.toml mise.toml .mise/ .config/mise/ .config/mise.toml .rtx.toml',
  },
  {
    tier: 1,
    reason: 'nvm, rbenv and the like choose a program by it on entering the directory',
    paths: '.nvmrc .node-version .ruby-version .python-version .tool-versions',
  },
  {
    tier: 1,
    reason: 'shells read it',
    paths: '.bashrc .bash_profile .profile .zshrc .zshenv .zprofile .autoenv .autoenv.zsh',
  },
  { tier: 1, reason: 'vim reads it with exrc', paths: '.vimrc .exrc .nvimrc .nvim.lua .exrc.lua .vim/' },
  { tier: 1, reason: 'Emacs reads it on opening a file', paths: '.dir-locals.el .dir-locals-2.el' },
  {
    tier: 1,
    reason: 'a coding agent on the host runs its hooks and servers, or follows it',
    paths:
      '.claude/ .mcp.json .cursor/ .cursorrules .codex/ .gemini/ .continue/ .windsurf/ .windsurfrules .opencode/ opencode.json .aider.conf.yml .amp/ .roo/ .kiro/ .claude-bottle/',
  },
  {
    tier: 1,
    reason: 'an agent on the host takes it for instructions',
    paths:
      'claude.md claude.local.md agents.md gemini.md .github/copilot-instructions.md .github/instructions/ .github/prompts/',
  },
  {
    tier: 1,
    reason: 'VS Code takes programs and tasks from it on opening the folder',
    paths: '.vscode/ *.code-workspace',
  },

  // Tier 2: version control.
  { tier: 2, reason: 'names filters and diff programs for git', paths: '.gitattributes' },
  { tier: 2, reason: 'names repositories that git fetches', paths: '.gitmodules' },
  { tier: 2, reason: 'names where git-lfs sends and fetches', paths: '.lfsconfig' },
  { tier: 2, reason: 'git configuration that others include', paths: '.gitconfig gitconfig' },
  { tier: 2, reason: 'a prepared rebase', paths: 'git-rebase-todo' },
  // Editors.
  {
    tier: 2,
    reason: 'an editor runs its tasks and launch settings',
    paths: '.idea/ *.iml .run/ .zed/ .fleet/ .vs/ *.sublime-project .nova/ .project .classpath .settings/',
  },
  {
    tier: 2,
    reason: 'the container of a development environment',
    paths:
      '.devcontainer/ .devcontainer.json devcontainer.json .gitpod.yml .gitpod.dockerfile devfile.yaml .devfile.yaml',
  },
  // Continuous integration.
  {
    tier: 2,
    reason: 'CI runs it with its secrets when it is pushed',
    paths:
      '.github/workflows/ .github/actions/ action.yml action.yaml .gitlab-ci.yml .gitlab/ .circleci/ .travis.yml jenkinsfile jenkinsfile.* *.jenkinsfile azure-pipelines.yml azure-pipelines.yaml .azure-pipelines/ .buildkite/ .drone.yml .drone.yaml .woodpecker.yml .woodpecker/ bitbucket-pipelines.yml appveyor.yml .appveyor.yml .forgejo/ .gitea/ .cirrus.yml .semaphore/ .teamcity/ cloudbuild.yaml cloudbuild.yml buildspec.yml .tekton/ .builds/ .build.yml codemagic.yaml bitrise.yml netlify.toml vercel.json',
  },
  {
    tier: 2,
    reason: 'a bot runs or merges by it',
    paths:
      '.github/dependabot.yml renovate.json renovate.json5 .renovaterc .renovaterc.json .mergify.yml .github/settings.yml codeowners',
  },
  // JavaScript.
  {
    tier: 2,
    reason: 'scripts and lifecycle scripts of packages',
    paths:
      'package.json package.json5 package.yaml deno.json deno.jsonc bunfig.toml binding.gyp *.gyp *.gypi',
  },
  {
    tier: 2,
    reason: 'decides what installing packages fetches and runs',
    paths:
      '.npmrc .yarnrc .yarnrc.yml .pnp.cjs .pnp.loader.mjs .yarn/ .pnpmfile.cjs .pnpmfile.mjs pnpm-workspace.yaml package-lock.json npm-shrinkwrap.json yarn.lock pnpm-lock.yaml bun.lock bun.lockb',
  },
  {
    tier: 2,
    reason: 'a build tool or an editor loads it as code',
    paths:
      '*.config.js *.config.mjs *.config.cjs *.config.ts *.config.mts *.config.cts .eslintrc .eslintrc.* .babelrc .babelrc.* .prettierrc .prettierrc.* .stylelintrc .stylelintrc.* .mocharc.* .nycrc .postcssrc.* .swcrc gulpfile.* gruntfile.* turbo.json nx.json lerna.json .ember-cli.js metro.config.*',
  },
  // Python.
  {
    tier: 2,
    reason: 'building or installing the package runs it',
    paths: 'setup.py setup.cfg pyproject.toml hatch_build.py build.py manifest.in',
  },
  {
    tier: 2,
    reason: 'decides what installing packages fetches and runs',
    paths:
      'requirements*.txt requirements/ constraints*.txt pipfile pipfile.lock poetry.lock uv.lock uv.toml pdm.lock pip.conf environment.yml .condarc',
  },
  {
    tier: 2,
    reason: 'Python, its tests or a notebook runs it',
    paths:
      'conftest.py pytest.ini tox.ini noxfile.py tasks.py fabfile.py dodo.py sconstruct sconscript sitecustomize.py usercustomize.py *.pth manage.py wscript *.ipynb',
  },
  // Make and its kin.
  {
    tier: 2,
    reason: 'make or a task runner runs it',
    paths:
      'makefile gnumakefile makefile.* *.mk *.mak justfile .justfile *.just taskfile.yml taskfile.yaml taskfile.dist.yml rakefile *.rake earthfile magefile.go bakefile tiltfile procfile procfile.*',
  },
  {
    tier: 2,
    reason: 'configuring or building runs it',
    paths:
      'configure configure.ac configure.in makefile.am autogen.sh bootstrap cmakelists.txt *.cmake cmakepresets.json meson.build meson_options.txt build.ninja premake5.lua xmake.lua build.zig build.zig.zon conanfile.py conanfile.txt vcpkg.json',
  },
  {
    tier: 2,
    reason: 'Bazel, Buck or Pants runs it',
    paths:
      'workspace workspace.bazel module.bazel build build.bazel *.bzl .bazelrc .bazelversion tools/bazel buck .buckconfig pants.toml',
  },
  // Compiled languages.
  {
    tier: 2,
    reason: 'cargo runs it while building',
    paths: 'build.rs cargo.toml cargo.lock .cargo/ rust-toolchain rust-toolchain.toml',
  },
  {
    tier: 2,
    reason: 'go fetches and builds by it',
    paths:
      'go.mod go.sum go.work tools.go .golangci.yml .golangci.yaml .goreleaser.yml .goreleaser.yaml .air.toml',
  },
  {
    tier: 2,
    reason: 'Gradle, Maven, sbt or Ant runs it',
    paths:
      '*.gradle *.gradle.kts gradlew gradlew.bat gradle.properties gradle/ buildsrc/ pom.xml mvnw mvnw.cmd .mvn/ build.sbt project/*.sbt project/*.scala build.properties build.xml ivy.xml build.sc build.mill',
  },
  {
    tier: 2,
    reason: 'MSBuild or NuGet runs it',
    paths:
      '*.csproj *.fsproj *.vbproj *.vcxproj *.proj *.sln *.slnx *.props *.targets nuget.config global.json *.cake *.nuspec',
  },
  {
    tier: 2,
    reason: 'Xcode, SwiftPM or CocoaPods runs it',
    paths:
      'package.swift *.pbxproj *.xcscheme *.xcworkspacedata *.xcconfig podfile podfile.lock *.podspec cartfile fastlane/',
  },
  {
    tier: 2,
    reason: 'bundler or a gem build runs it',
    paths: 'gemfile gemfile.lock *.gemspec extconf.rb guardfile capfile .rspec .irbrc .pryrc config.ru',
  },
  {
    tier: 2,
    reason: 'composer runs it',
    paths: 'composer.json composer.lock .php-cs-fixer.php phpunit.xml phpunit.xml.dist .user.ini .htaccess',
  },
  {
    tier: 2,
    reason: "another language's build runs it",
    paths:
      'mix.exs mix.lock rebar.config rebar.config.script erlang.mk dune dune-project *.opam *.cabal cabal.project stack.yaml setup.hs project.clj deps.edn shadow-cljs.edn build.boot elm.json makefile.pl build.pl cpanfile *.rockspec .rprofile .renviron renv/activate.r pubspec.yaml build.yaml melos.yaml',
  },
  // Machines and deployment.
  {
    tier: 2,
    reason: 'a container build or start runs it',
    paths:
      'dockerfile dockerfile.* *.dockerfile containerfile containerfile.* .dockerignore compose.yml compose.yaml compose.*.yml compose.*.yaml docker-compose.yml docker-compose.yaml docker-compose.*.yml docker-compose.*.yaml docker-bake.hcl docker-bake.json skaffold.yaml',
  },
  {
    tier: 2,
    reason: 'a machine or its software is made by it',
    paths: 'vagrantfile *.nix flake.lock guix.scm manifest.scm brewfile *.pkr.hcl playbook.yml ansible.cfg',
  },
  {
    tier: 2,
    reason: 'infrastructure is changed by it',
    paths:
      '*.tf *.tf.json *.tfvars terragrunt.hcl pulumi.yaml serverless.yml serverless.yaml cdk.json samconfig.toml helmfile.yaml chart.yaml kustomization.yaml app.yaml fly.toml wrangler.toml wrangler.jsonc',
  },
  // Programs that a double click or a path runs.
  {
    tier: 2,
    reason: 'a program for a shell or a desktop',
    paths:
      '*.sh *.bash *.zsh *.fish *.ps1 *.psm1 *.bat *.cmd *.command *.desktop *.app/ *.exe *.dll *.so *.dylib *.scpt *.applescript *.vbs *.lnk *.url *.webloc',
  },
  { tier: 2, reason: 'a debugger or profiler loads it', paths: '.gdbinit .lldbinit gdb/ *-gdb.py' },
  { tier: 2, reason: 'may hold settings that programs are started with', paths: '.env .env.*' },
];

const compiled = rows.map(({ tier, reason, paths }) => ({
  tier,
  reason,
  pattern: new RegExp(`^(?:${paths.split(/\s+/).map(patternOf).join('|')})$`, 's'),
}));

/**
 * Which of these paths run on the host when they are trusted, the first tier first. A list can show what is known to run, never
 * that nothing else does: code is run too when somebody runs the project.
 * @param paths byte strings (latin1), with slashes.
 */
export function hostExecutions(paths: readonly string[]): HostExecution[] {
  const found = paths.flatMap((path) => {
    const row = compiled.find(({ pattern }) => pattern.test(path.toLowerCase()));
    return row === undefined ? [] : [{ path: printablePath(path), tier: row.tier, reason: row.reason }];
  });
  return found.sort((one, other) => one.tier - other.tier);
}

function patternOf(path: string): string {
  const text = path
    .replace(/[.+?^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '[^/]*')
    .replace(/\/$/, '/.*');
  return `(?:.*/)?${text}`;
}
