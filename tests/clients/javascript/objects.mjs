// The JavaScript client against a live server. Usage: node objects.mjs <kubeconfig> <namespace>
// Throws where an answer is not what it should be; prints "done" at the end.
import assert from 'node:assert/strict';
import * as k8s from '@kubernetes/client-node';

const [kubeconfig, namespace] = process.argv.slice(2);
const config = new k8s.KubeConfig();
config.loadFromFile(kubeconfig);
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);
const generic = k8s.KubernetesObjectApi.makeApiClient(config);

function deployment(name) {
  const labels = { app: name };
  const containers = [{ name: 'main', image: 'web:1' }];
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace, labels },
    spec: {
      replicas: 2,
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { terminationGracePeriodSeconds: 0, containers } },
    },
  };
}

// Promise.withResolvers, which older versions of Node do not have.
function deferred() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
}

async function refused(work, code) {
  await assert.rejects(work, (error) => {
    assert.equal(error.code, code);
    return true;
  });
}

async function typedObjects() {
  const body = { metadata: { name: 'a' }, data: { x: '1' }, binaryData: { raw: 'AAH/' } };
  const made = await core.createNamespacedConfigMap({ namespace, body });
  assert.ok(made.metadata.creationTimestamp instanceof Date);
  made.data.y = '2';
  const replaced = await core.replaceNamespacedConfigMap({ name: 'a', namespace, body: made });
  assert.deepEqual(replaced.data, { x: '1', y: '2' });
  await refused(core.replaceNamespacedConfigMap({ name: 'a', namespace, body: made }), 409);
  await refused(core.createNamespacedConfigMap({ namespace, body }), 409);
  await refused(core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'A_b' } } }), 422);
  const patched = await core.patchNamespacedConfigMap(
    { name: 'a', namespace, body: [{ op: 'remove', path: '/data/y' }] },
    k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.JsonPatch),
  );
  assert.deepEqual(patched.data, { x: '1' });
  const listed = await core.listNamespacedConfigMap({ namespace, fieldSelector: 'metadata.name=a' });
  assert.deepEqual(listed.items.map((item) => item.metadata.name), ['a']);
  await core.deleteNamespacedConfigMap({ name: 'a', namespace });
  await refused(core.readNamespacedConfigMap({ name: 'a', namespace }), 404);
}

async function pagesOfAList() {
  for (const number of [0, 1, 2, 3]) {
    await core.createNamespacedSecret({ namespace, body: { metadata: { name: `s${number}` } } });
  }
  const names = [];
  let token;
  do {
    const page = await core.listNamespacedSecret({ namespace, limit: 3, _continue: token });
    names.push(...page.items.map((item) => item.metadata.name));
    token = page.metadata._continue;
  } while (token);
  assert.deepEqual(names, ['s0', 's1', 's2', 's3']);
}

async function anInformerSeesADeploymentComeAndGo() {
  const list = () => apps.listNamespacedDeployment({ namespace });
  const informer = k8s.makeInformer(config, `/apis/apps/v1/namespaces/${namespace}/deployments`, list);
  const ready = deferred();
  const gone = deferred();
  informer.on('change', (seen) => seen.status?.readyReplicas === 2 && ready.resolve());
  informer.on('delete', gone.resolve);
  informer.on('error', (error) => { ready.reject(error); gone.reject(error); });
  await informer.start();
  await generic.create(deployment('web'));
  await ready.promise;
  assert.equal(informer.get('web', namespace).metadata.name, 'web');
  await generic.patch(
    { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web', namespace, labels: { tier: 'front' } } },
    undefined, undefined, 'tester', true, k8s.PatchStrategy.ServerSideApply,
  );
  const applied = await apps.readNamespacedDeployment({ name: 'web', namespace });
  assert.deepEqual(applied.metadata.labels, { app: 'web', tier: 'front' });
  const scale = await apps.readNamespacedDeploymentScale({ name: 'web', namespace });
  scale.spec.replicas = 1;
  const scaled = await apps.replaceNamespacedDeploymentScale({ name: 'web', namespace, body: scale });
  assert.equal(scaled.spec.replicas, 1);
  await apps.deleteNamespacedDeployment({ name: 'web', namespace, propagationPolicy: 'Background' });
  await gone.promise;
  await informer.stop();
}

async function execInAPod() {
  const containers = [{ name: 'main', image: 'web:1' }];
  await core.createNamespacedPod({ namespace, body: { metadata: { name: 'one' }, spec: { containers } } });
  const running = deferred();
  const watcher = await new k8s.Watch(config).watch(
    `/api/v1/namespaces/${namespace}/pods`, { fieldSelector: 'metadata.name=one' },
    (_, pod) => pod.status.phase === 'Running' && running.resolve(),
    (error) => error && running.reject(error),
  );
  await running.promise;
  watcher.abort();
  assert.equal(typeof await core.readNamespacedPodLog({ name: 'one', namespace }), 'string');
  const over = deferred();
  await new k8s.Exec(config).exec(
    namespace, 'one', 'main', ['true'], process.stderr, process.stderr, null, false, over.resolve,
  );
  assert.equal((await over.promise).status, 'Success');
}

await typedObjects();
await pagesOfAList();
await anInformerSeesADeploymentComeAndGo();
await execInAPod();
console.log('done');
process.exit(0);
