import { expect, test } from 'vitest';
import { addDecimals } from './decimal.ts';

test.each([
  ['0', '1.5', '1.5'],
  ['10.50', '0.1', '10.6'],
  ['0.1', '0.2', '0.3'],
  ['5.0e3', '2.0e2', '5200'],
  ['3', '-1.1', '1.9'],
  ['1', '-1', '0'],
  ['-0.5', '0.25', '-0.25'],
  ['17179869184', '1.5', '17179869185.5'],
  ['.5', '+.5', '1'],
  ['1e-17', '0', '0.00000000000000001'],
  ['1e-18', '0', '0'],
  ['0.02439024390243902', '-0.024390243902439025', '0'],
  ['1e300', '1', `1${'0'.repeat(299)}1`],
])('%s + %s = %s', (a, b, sum) => {
  expect(addDecimals(a, b)).toBe(sum);
});

test.each(['', ' 1', '1 ', 'abc', '1e', '1.2.3', '0x10', '1e5000', 'nan', '.', '--1'])(
  '%j is none',
  (text) => {
    expect(() => addDecimals('1', text)).toThrow('ERR value is not a valid float');
  },
);

test.each(['inf', '-Infinity', '+INF'])('%s is too much', (text) => {
  expect(() => addDecimals('1', text)).toThrow('ERR increment would produce NaN or Infinity');
});
