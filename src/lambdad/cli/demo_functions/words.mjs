// Count the words of a text.
export const handler = async (event, context) => {
  const counts = {};
  for (const word of event.text.toLowerCase().match(/\p{L}+/gu) ?? []) counts[word] = (counts[word] ?? 0) + 1;
  const most = Object.entries(counts).sort((a, b) => b[1] - a[1]).slice(0, 3);
  console.log(`${Object.keys(counts).length} different words, node ${process.version}`);
  return { most, function: context.functionName };
};
