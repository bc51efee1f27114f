// The house rules as a test: what may import what, that nothing goes in circles, that the public words are explained,
// and that nothing of one machine leaks into the sources.
import { type ExecFileSyncOptionsWithStringEncoding, execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { expect } from 'chai';

const root = resolve(import.meta.dirname, '..');

/** What each folder of src may import, beside itself (DESIGN, "The house"). `a/b` allows that one file only. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  base: [],
  config: ['base'],
  format: ['base', 'raft/types'],
  raft: ['base'],
  storage: ['base', 'format', 'raft/types'],
  broker: ['base', 'format', 'raft/types', 'storage'],
  replica: ['base', 'format', 'raft', 'storage', 'broker'],
  routing: ['base'],
  wire: ['base', 'format', 'raft/types', 'broker/types'],
  rpc: ['base', 'format', 'wire', 'raft/types', 'broker', 'replica', 'routing'],
  client: ['base', 'format', 'wire'],
  bench: ['base', 'format', 'wire', 'client'],
  import: ['base', 'format', 'client'],
  observe: ['base'],
  server: [
    ...['base', 'config', 'format', 'raft', 'storage', 'broker', 'replica', 'routing', 'wire', 'rpc', 'client'],
    'observe',
  ],
  cli: ['base', 'config', 'format', 'wire', 'client', 'bench', 'import', 'server', 'observe'],
};

const LINES_MAX = 420;
/** Tests are lists of cases, and may be longer. */
const TEST_LINES_MAX = 1_100;

interface Source {
  /** Relative to the repository, with forward slashes. */
  readonly path: string;
  readonly text: string;
}

function sourcesUnder(folder: string, pattern = /\.ts$/): Source[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => pattern.test(name))
    .map((name) => ({
      path: join(folder, name).split(sep).join('/'),
      text: readFileSync(join(root, folder, name), 'utf8'),
    }))
    .sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** Modules a source names in import and export statements, types included. */
function importsOf(source: Source): string[] {
  const statements = source.text.matchAll(/^(?:import|export)\s(?:[^;'"=]*?\sfrom\s)?\s*['"]([^'"]+)['"]/gm);
  const dynamic = source.text.matchAll(/\bimport\(\s*['"]([^'"]+)['"]/g);
  return [...statements, ...dynamic].map((match) => match[1]!);
}

/** Paths, relative to the repository, of the repository's own files that a source imports. */
function ownImportsOf(source: Source): string[] {
  return importsOf(source)
    .filter((name) => name.startsWith('.'))
    .map((name) =>
      relative(root, resolve(root, dirname(source.path), name))
        .split(sep)
        .join('/'),
    );
}

/** What breaks the drawing in one source. */
function forbiddenImports(source: Source, rules: Readonly<Record<string, readonly string[]>>): string[] {
  const folder = source.path.split('/')[1]!;
  const mayImport = rules[folder];
  if (mayImport === undefined) return [`${source.path}: src/${folder} is not in the drawing`];
  return ownImportsOf(source)
    .filter((path) => {
      const [top, to] = path.split('/');
      if (top !== 'src') return true;
      const file = path.slice('src/'.length).replace(/\.ts$/, '');
      return to !== folder && !mayImport.includes(to!) && !mayImport.includes(file);
    })
    .map((path) => `${source.path} imports ${path}`);
}

/** The first import cycle found, as a path through it. */
function findCycle(edges: ReadonlyMap<string, readonly string[]>): string[] | undefined {
  const done = new Set<string>();
  const visit = (at: string, trail: string[]): string[] | undefined => {
    if (trail.includes(at)) return [...trail.slice(trail.indexOf(at)), at];
    if (done.has(at)) return undefined;
    for (const to of edges.get(at) ?? []) {
      const cycle = visit(to, [...trail, at]);
      if (cycle !== undefined) return cycle;
    }
    done.add(at);
    return undefined;
  };
  for (const start of edges.keys()) {
    const cycle = visit(start, []);
    if (cycle !== undefined) return cycle;
  }
  return undefined;
}

/**
 * Exported symbols without a docstring. A run of one-line constants needs one docstring (or a drawing at the top of the
 * file) for all of it: they are one table.
 */
function undocumentedExports(source: Source): string[] {
  const lines = source.text.split('\n');
  const found: string[] = [];
  lines.forEach((line, at) => {
    const name =
      /^export (?:default )?(?:abstract )?(?:async )?(?:function\*?|class|const|let|interface|type) (\w+)/.exec(line);
    if (name === null || isDocumented(lines, at)) return;
    found.push(`${source.path}:${at + 1} ${name[1]}`);
  });
  return found;
}

function isDocumented(lines: readonly string[], at: number): boolean {
  let above = at - 1;
  while (/^\s*\/\/ biome-ignore/.test(lines[above] ?? '') || /^@/.test(lines[above] ?? '')) above--;
  if (/\*\/\s*$/.test(lines[above] ?? '')) return true;
  const isConstantLine = (line: string | undefined): boolean => /^export (const|type) \w+.*[;>]$/.test(line ?? '');
  if (!isConstantLine(lines[at])) return false;
  // A constant's neighbours above, then what stands before the first of them.
  while (isConstantLine(lines[above]) || /^ {2}\S/.test(lines[above] ?? '')) above--;
  if (/\*\/\s*$/.test(lines[above] ?? '')) return true;
  const head = lines.slice(0, above + 1);
  return head.every((line) => line === '' || line.startsWith('//') || /^import\b|^ {2}\S|^} from/.test(line));
}

/** This file holds examples of what is forbidden. */
const isNotThis = (source: Source): boolean => source.path !== 'test/architecture.test.ts';

describe('architecture', () => {
  const src = sourcesUnder('src');
  const all = [...src, ...sourcesUnder('test')];

  it('lets a folder import only what the drawing allows', () => {
    expect(src.flatMap((source) => forbiddenImports(source, allowed))).to.deep.equal([]);
  });

  it('has no import cycles', () => {
    const edges = new Map(src.map((source) => [source.path, ownImportsOf(source)]));
    expect(findCycle(edges)).to.equal(undefined);
  });

  it('imports files that exist, by their full name', () => {
    const missing = all.filter(isNotThis).flatMap((source) =>
      ownImportsOf(source)
        .filter((path) => !existsSync(join(root, path)))
        .map((path) => `${source.path} imports ${path}`),
    );
    expect(missing).to.deep.equal([]);
  });

  it('names its dependencies, and none that is only for development', () => {
    const manifest = readManifest();
    const used = src.flatMap((source) =>
      importsOf(source)
        .filter((name) => !name.startsWith('.') && !name.startsWith('node:'))
        .map((name) => ({
          source,
          name: name
            .split('/')
            .slice(0, name.startsWith('@') ? 2 : 1)
            .join('/'),
        })),
    );
    const strangers = used.filter(({ name }) => !Object.hasOwn(manifest.dependencies, name));
    expect(strangers.map(({ source, name }) => `${source.path} imports ${name}`)).to.deep.equal([]);
    const idle = Object.keys(manifest.dependencies).filter((name) => !used.some((one) => one.name === name));
    expect(idle, 'dependencies nobody imports').to.deep.equal([]);
  });

  it('explains every exported symbol', () => {
    expect(src.flatMap(undocumentedExports)).to.deep.equal([]);
  });

  it('opens every file with what it is', () => {
    const bare = src.filter((source) => !/^(#!.*\n)?\/\/ \S/.test(source.text)).map((source) => source.path);
    expect(bare).to.deep.equal([]);
  });

  it(`keeps sources below ${LINES_MAX} lines, tests below ${TEST_LINES_MAX}`, () => {
    const lineMax = (source: Source): number => (source.path.startsWith('src/') ? LINES_MAX : TEST_LINES_MAX);
    const long = all.filter((source) => source.text.split('\n').length > lineMax(source)).map((source) => source.path);
    expect(long).to.deep.equal([]);
  });

  it('has no default exports, enums, namespaces or imports without extension', () => {
    const rules: readonly [string, RegExp][] = [
      ['default export', /^export default\b/m],
      ['enum', /^(export )?(const )?enum\b/m],
      ['namespace', /^(export )?(declare )?namespace\b/m],
    ];
    const found = src.flatMap((source) =>
      rules.filter(([, pattern]) => pattern.test(source.text)).map(([what]) => `${source.path}: ${what}`),
    );
    const bare = all.flatMap((source) =>
      importsOf(source)
        .filter((name) => name.startsWith('.') && !/\.(ts|json)$/.test(name))
        .map((name) => `${source.path} imports ${name}`),
    );
    expect([...found, ...bare]).to.deep.equal([]);
  });

  it('leaves nothing for later, and nothing of one machine, in the sources', () => {
    const files = trackedFiles().filter((path) => path !== 'package-lock.json' && path !== 'LICENSE');
    const found = files.flatMap((path) => {
      const text = readFileSync(join(root, path), 'utf8');
      return leaks(text).map((what) => `${path}: ${what}`);
    });
    expect(found).to.deep.equal([]);
  });

  it('runs every test file exactly once', () => {
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      scripts: Record<string, string>;
    };
    expect(scripts['test:slow']).to.include("'test/slow/**/*.test.ts'");
    const quick = ['test:units', 'test:nodes', 'test:share'].flatMap((script) => {
      const folders = [...scripts[script]!.matchAll(/test\/\{?([\w,]+)\}?\/\*\*/g)];
      return folders.flatMap(([, names]) => names!.split(','));
    });
    const named = [...quick, 'slow'];
    const withTests = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.test.ts') && path.includes(sep))
      .map((path) => path.split(sep)[0]!);
    expect(named.sort()).to.deep.equal([...new Set(withTests)].sort());
  });

  it('pins exact versions, and only from the public registry', () => {
    const manifest = readManifest();
    const loose = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies }).filter(
      ([, version]) => !/^\d+\.\d+\.\d+$/.test(version),
    );
    expect(loose).to.deep.equal([]);
    const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
      packages: Record<string, { resolved?: string; integrity?: string }>;
    };
    const packages = Object.entries(lock.packages).filter(([path]) => path !== '');
    expect(packages.filter(([, entry]) => entry.integrity === undefined).map(([path]) => path)).to.deep.equal([]);
    const hosts = new Set(packages.flatMap(([, entry]) => (entry.resolved ? [new URL(entry.resolved).host] : [])));
    expect([...hosts].filter((host) => host !== ['registry', 'npmjs', 'org'].join('.'))).to.deep.equal([]);
  });

  describe('the checks themselves', () => {
    const rules = { base: [], raft: ['base'], storage: ['base', 'raft/types'] };
    const at = (path: string, text: string): Source => ({ path, text });

    it('see a forbidden folder, an unknown one, and a file beside the one allowed', () => {
      const bad = "import { x } from '../storage/x.ts';\nexport type { Y } from '../raft/core.ts';\n";
      expect(forbiddenImports(at('src/raft/a.ts', bad), rules)).to.have.length(1);
      expect(forbiddenImports(at('src/storage/a.ts', bad), rules)).to.deep.equal([
        'src/storage/a.ts imports src/raft/core.ts',
      ]);
      expect(forbiddenImports(at('src/new/a.ts', ''), rules)).to.have.length(1);
      expect(
        forbiddenImports(at('src/storage/a.ts', "import type {\n  A,\n} from '../raft/types.ts';"), rules),
      ).to.deep.equal([]);
      expect(forbiddenImports(at('src/base/a.ts', "await import('../../test/x.ts');"), rules)).to.have.length(1);
    });

    it('see a cycle, and none where two ways lead to one file', () => {
      expect(
        findCycle(
          new Map([
            ['a', ['b']],
            ['b', ['c']],
            ['c', ['b']],
          ]),
        ),
      ).to.deep.equal(['b', 'c', 'b']); // prettier-ignore
      expect(
        findCycle(
          new Map([
            ['a', ['b', 'c']],
            ['b', ['d']],
            ['c', ['d']],
          ]),
        ),
      ).to.equal(undefined); // prettier-ignore
    });

    it('see an export without a docstring', () => {
      const text =
        '// What it is.\nimport x from "y";\n\nfunction inner() {}\n\nexport function bare() {}\n/** Said. */\nexport class Said {}\n';
      expect(undocumentedExports(at('src/a/a.ts', text))).to.deep.equal(['src/a/a.ts:6 bare']);
      const table = '// Drawn here.\n\nexport const A_AT = 0;\nexport const B_AT = 4;\n';
      expect(undocumentedExports(at('src/a/a.ts', table))).to.deep.equal([]);
    });

    it('see what was left for later and what belongs to one machine', () => {
      for (const text of [
        `// ${'TO'}DO: x`,
        `${'FIX'}ME`,
        `/${'home'}/someone/x`,
        `/${'work'}/main`,
        `http://localhost.${'localdomain'}:4873/npm/`,
      ]) {
        expect(leaks(text), text).to.have.length(1);
      }
      expect(leaks('a method to do things at http://example.com/work')).to.deep.equal([]);
    });
  });
});

interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
}

function readManifest(): Manifest {
  return JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest;
}

/** The repository's files, tracked or about to be; what a source archive without git holds otherwise. */
function trackedFiles(): string[] {
  try {
    const options: ExecFileSyncOptionsWithStringEncoding = {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    };
    return execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], options)
      .split('\n')
      .filter((path) => path !== '' && existsSync(join(root, path)));
  } catch {
    return [...sourcesUnder('src'), ...sourcesUnder('test'), ...sourcesUnder('proto', /\.proto$/)].map(
      (source) => source.path,
    );
  }
}

/** Words for later, absolute paths of a developer's machine, hosts of package registries. Spelled so as not to find themselves. */
function leaks(text: string): string[] {
  const patterns = [
    new RegExp(`\\b(${'TO'}DO|${'FIX'}ME|${'XX'}X)\\b`),
    new RegExp(`(^|[\\s'"\`(=:])/(${'home'}|${'Users'}|${'work'}|${'root'})/[\\w.-]+`, 'm'),
    new RegExp(
      `\\b(registry\\.${'npmjs'}\\.org|[\\w.-]+:4873|[\\w.-]*(${'arti'}factory|${'nex'}us|${'ver'}daccio)[\\w.-]*)\\b`,
      'i',
    ),
  ];
  return patterns.map((pattern) => pattern.exec(text)?.[0].trim()).filter((hit) => hit !== undefined);
}
