// Differential fuzzing against ajv: random schemas and instances, both drafts.
//   node fuzz.mjs --pairs 100000 --seed 1
import Ajv07 from 'ajv'
import Ajv2020 from 'ajv/dist/2020.js'
import { Generator } from './generate.mjs'
import { options } from './random.mjs'
import { verdicts } from './server.mjs'

const { pairs, seed, each, show } = options({ pairs: 100000, seed: Date.now() % 1000000, each: 20, show: 10 })
const generator = new Generator(Number(seed))
const settings = { strict: false, validateFormats: false, logger: false, addUsedSchema: false }
const count = { pairs: 0, valid: 0, refused: 0, disagreements: 0 }
const reasons = new Map()
console.log(`seed ${seed}`)

// Where ajv is known to leave the specification.  In unevaluatedItems, contains
// marks every item as evaluated, or none with minContains 0; the specification
// counts those that match.  And contains on an empty array takes over the result of
// whatever was checked before it, instead of failing.
// Where one unevaluated keyword stands in an alternative and another around it, ajv takes
// what the first saw as evaluated even if the alternative failed; likewise what an "if" saw
// that failed.
const contains = /"(contains|minContains|maxContains)"/
function excused(schema, instance) {
  if (contains.test(schema) && (schema.includes('"unevaluatedItems"') || instance.includes('[]'))) return true
  if (schema.includes('"if"') && schema.includes('"unevaluated')) return true
  return /"unevaluatedItems".*"unevaluatedItems"|"unevaluatedProperties".*"unevaluatedProperties"/.test(schema)
}

while (count.pairs < Number(pairs)) {
  const rows = []
  const expected = []
  while (rows.length < 10000 && count.pairs + rows.length < Number(pairs)) {
    const draft = generator.r.chance(0.5) ? '07' : '2020-12'
    const schema = generator.document(draft)
    const text = JSON.stringify(schema)
    let validate
    try {
      validate = new (draft === '07' ? Ajv07 : Ajv2020).default(settings).compile(schema)
    } catch {
      continue // what ajv itself refuses tells nothing
    }
    for (let i = 0; i < Number(each); i++) {
      const instance = generator.instance(schema, schema, 5)
      if (excused(text, instance)) continue
      let valid
      try {
        valid = validate(JSON.parse(instance))
      } catch {
        continue // ajv ran out of stack, or its generated code has an error
      }
      rows.push([text, instance])
      expected.push(valid ? 't' : 'f')
    }
  }
  verdicts(rows).forEach((verdict, i) => {
    count.pairs++
    if (verdict === 't') count.valid++
    if (verdict.startsWith('e 0A000') || verdict.startsWith('e 22')) {
      count.refused++
      const reason = verdict.replace(/^(e \S+ [^:]*:? ?)\S*/, '$1')
      reasons.set(reason, (reasons.get(reason) ?? 0) + 1)
    } else if (verdict !== expected[i]) {
      if (count.disagreements++ < Number(show)) console.log(`ajv ${expected[i]}, eventbus ${verdict}\n  schema   ${rows[i][0]}\n  instance ${rows[i][1]}`)
    }
  })
}
for (const [reason, n] of [...reasons].sort((a, b) => b[1] - a[1]).slice(0, 5)) console.log(`refused ${n}: ${reason}`)
console.log(`${count.pairs} pairs, ${count.valid} valid, ${count.refused} refused, ${count.disagreements} disagreements`)
process.exit(count.disagreements + (count.refused > count.pairs / 100 ? 1 : 0) > 0 ? 1 : 0)
