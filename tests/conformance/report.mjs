// Counts what the suite found, and names each requirement that was not met: report.mjs SUITE RESULTS
import fs from 'fs'
import path from 'path'
import { pathToFileURL } from 'url'

const [suite, results] = process.argv.slice(2)
const groups = (await import(pathToFileURL(path.resolve(suite, 'tests/index.mjs')))).default
const found = JSON.parse(fs.readFileSync(results))
const counts = {}
for (const test of groups.flatMap(group => group.tests).filter(test => !test.browser_only)) {
  const kind = test.kind || 'required'
  const count = counts[kind] ??= { met: 0, all: 0 }
  count.all += 1
  if (found[test.id] === true) {
    count.met += 1
  } else if (kind !== 'check') {
    const why = found[test.id] ? found[test.id].join(': ') : 'no result'
    console.log(`${kind}\t${test.id}\t${why}`)
  }
}
for (const [kind, { met, all }] of Object.entries(counts)) {
  if (kind !== 'check') console.log(`${kind}: ${met} of ${all} met`)
}
