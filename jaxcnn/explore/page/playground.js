export async function startPlayground() {}
