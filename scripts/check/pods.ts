/**
 * Pods as kubectl understands them without a cluster, and their containers as Docker runs them:
 * each volume a tmpfs that one more container keeps, as a pod does.
 */

import { deepStrictEqual } from 'node:assert';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BASE } from './base-image.ts';
import { command } from './command.ts';

interface Container {
  name: string;
  image: string;
  command?: string[];
  securityContext?: {
    allowPrivilegeEscalation?: boolean;
    readOnlyRootFilesystem?: boolean;
    capabilities?: { drop?: string[] };
  };
  resources?: { limits?: { memory?: string } };
  volumeMounts?: { name: string; mountPath: string }[];
}

export interface Pod {
  metadata: { name: string };
  spec: {
    terminationGracePeriodSeconds: number;
    securityContext: { runAsUser: number };
    initContainers?: Container[];
    containers: Container[];
    volumes: { name: string; emptyDir: { medium?: string; sizeLimit?: string } }[];
  };
}

/** Whoever runs in a pod may write to its volumes. */
const OPEN_TO_ALL = 'mode=0777';

/** What YAML says, as kubectl reads it. @throws Error it does not */
export async function podsOf(yaml: string, folder: string): Promise<Pod[]> {
  return [JSON.parse(await kubectl(yaml, folder, 'label', 'checked=yes')) as Pod];
}

/**
 * Checks that kubectl has a type for every field: one that it does not know is lost where it makes
 * an object of that type, as it does to set the image of a container.
 *
 * @throws Error a field is lost, or is of another type; or a field that does not exist is not lost
 */
export async function typesOfPods(yaml: string, folder: string): Promise<void> {
  await typesOf(yaml, folder);
  const misspelt = yaml.replace('sizeLimit', 'sizeLimits');
  const isNoticed = await typesOf(misspelt, folder).then(
    () => false,
    () => true,
  );
  if (!isNoticed) throw new Error("kubectl does not tell that there is no field 'sizeLimits'");
}

async function typesOf(yaml: string, folder: string): Promise<void> {
  const [pod] = await podsOf(yaml, folder);
  const [first] = pod.spec.containers;
  first.image = 'checked'; // it shows nothing where it changes nothing
  const words = ['set', 'image', `${first.name}=${first.image}`];
  const typed = JSON.parse(await kubectl(yaml, folder, ...words)) as Pod;
  deepStrictEqual(common(typed.spec, pod.spec), pod.spec);
}

/** `value` without what `wanted` does not have. */
function common(value: unknown, wanted: unknown): unknown {
  if (Array.isArray(value) && Array.isArray(wanted))
    return value.map((each, i) => common(each, (wanted as unknown[])[i]));
  if (!isObject(value) || !isObject(wanted)) return value;
  const names = Object.keys(value).filter((name) => name in wanted);
  return Object.fromEntries(names.map((name) => [name, common(value[name], wanted[name])]));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

/** A command of kubectl that asks no server, on an object; the object as JSON. */
async function kubectl(yaml: string, folder: string, ...words: string[]): Promise<string> {
  const file = join(folder, 'pod.yaml');
  writeFileSync(file, yaml);
  const verbs = words[0] === 'set' ? words.splice(0, 2) : words.splice(0, 1);
  const args = [...verbs, '--local', '--output=json', `--filename=${file}`, ...words];
  const { ok, output, stdout } = await command('kubectl', args);
  if (!ok) throw new Error(`kubectl ${args.join(' ')}:\n${output}`);
  return stdout;
}

/** Lines of a shell that do with Docker what a pod is. */
export function runPod({ metadata, spec }: Pod): {
  volumes: string[];
  init: string[];
  start: string;
  stop: string;
} {
  const { runAsUser: user } = spec.securityContext;
  const volumes = spec.volumes.map(({ name, emptyDir: { sizeLimit } }) => {
    const options = sizeLimit === undefined ? OPEN_TO_ALL : `${OPEN_TO_ALL},size=${bytes(sizeLimit)}`;
    return `docker volume create --opt type=tmpfs --opt device=tmpfs --opt o=${options} ${name}`;
  });
  const all = spec.volumes.map(({ name }) => mount(name, `/${name}`)).join(' ');
  const keeper = `docker run -d --name pod --network=none ${all} ${BASE} sleep infinity`;
  return {
    volumes: [...volumes, keeper],
    init: (spec.initContainers ?? []).map((each) => run('--rm', each, user)),
    start: run(`-d --name ${metadata.name} -p 8080:8080`, spec.containers[0], user),
    stop: `docker stop -t ${spec.terminationGracePeriodSeconds} ${metadata.name}`,
  };
}

function run(options: string, container: Container, user: number): string {
  const { image, command: words = [], securityContext = {}, resources, volumeMounts = [] } = container;
  const memory = resources?.limits?.memory;
  return [
    `docker run ${options} --user ${user}`,
    ...(securityContext.readOnlyRootFilesystem === true ? ['--read-only'] : []),
    ...(securityContext.allowPrivilegeEscalation === false ? ['--security-opt no-new-privileges'] : []),
    ...(securityContext.capabilities?.drop ?? []).map((name) => `--cap-drop ${name}`),
    ...(memory === undefined ? [] : [`--memory ${bytes(memory)} --memory-swap ${bytes(memory)}`]),
    ...volumeMounts.map(({ name, mountPath }) => mount(name, mountPath)),
    image,
    ...words,
  ].join(' ');
}

/** A volume begins empty, and not with what the image has there. */
function mount(name: string, path: string): string {
  return `--mount type=volume,src=${name},dst=${path},volume-nocopy`;
}

/** Kubernetes' Mi and Gi, as Docker has them. */
function bytes(quantity: string): string {
  const found = /^(\d+)([MG])i$/.exec(quantity);
  if (!found) throw new Error(`'${quantity}' is no number of Mi or Gi`);
  return `${found[1]}${found[2].toLowerCase()}`;
}
