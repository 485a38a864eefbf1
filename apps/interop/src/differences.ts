/** Where a real Linux and ours make something else of a damaged handover, and why that is meant. */
export const DIFFERENCES: Readonly<Partial<Record<string, string>>> = {
  'tree: longer than its page':
    'Linux reads on behind the page. Here one page is the tree, and what says more is damaged.',
  'map: a leaf has one page less':
    "The page is the tree's own. Linux reads it again when it has put that memory to use, and finds no sessions. Here it is read once, before.",
  'scratch: an area is not whole pages':
    'Linux rounds it. Here a part of a page would be handed out, so the boot is refused.',
  'scratch: an area is beyond memory':
    'Linux ignores an area where it has no memory. Here the machine may be another one than it was, so the boot is refused.',
  'session: a name that is empty':
    'Nobody can ask Linux for that session, and its files are lost without a word. Here all of it is refused: inspect shows what is there.',
  'session: no files':
    'The record counts files and leads to none: Linux loses them without a word. Here all of it is refused.',
  'memfd: a position below 0': 'Linux keeps a position at which every read fails. Here the file is refused.',
  'memfd: a size that none can have':
    'Linux makes a file whose size is below 0, in which nothing can be read. Here the file is refused.',
  'memfd: flags':
    'The field is 0 in every version until now. Linux does not look; here a file of a later meaning is refused.',
  'memfd: more folios':
    'The count is larger than the list. Linux skips what is empty behind its end; here the file is refused, since its list may be cut short.',
  'folio: beyond the file':
    'A part of the content is listed where the file has none. Linux gives the file with zeros in its place; here it is refused.',
  'FLBs: more than a page has':
    'Linux reads as many as it looks for. Here the count says that the page is damaged, and all of it is refused.',
};
