#!/bin/bash
# image: full
# Node's event loop, files, child processes, workers and its server.
set -eu
cd /tmp
node -e 'process.exit(6 * 7 === 42 ? 0 : 1)'
cat >program.js <<'PROGRAM'
const assert = require('assert'), fs = require('fs'), child = require('child_process'), http = require('http');
const { Worker } = require('worker_threads');
(async () => {
  await fs.promises.writeFile('/tmp/node-file', 'text');
  assert.equal(await fs.promises.readFile('/tmp/node-file', 'utf8'), 'text');
  assert.equal(child.execSync('echo hi').toString(), 'hi\n');
  await new Promise(resolve => setTimeout(resolve, 20));
  const worker = new Worker("require('worker_threads').parentPort.postMessage(42)", { eval: true });
  assert.equal(await new Promise(resolve => worker.once('message', resolve)), 42);
  assert.equal(require('crypto').createHash('sha256').update('x').digest('hex').length, 64);
  process.exit(0);
})().catch(error => { console.error(error); process.exit(1); });
PROGRAM
node program.js
